//! The configurations that `docs/integrating/rsyslog.md` and `syslog-ng.md` show, of the receiver and of jumpstream: they
//! are what is run, and what is in the file is what was sent.

use fastrand::Rng;
use jumpstream::record::Record;

use super::receiver::{Door, Receiver, Server};
use super::{awkward, deliver, open_all};

const RSYSLOG: &str = include_str!("../../../docs/integrating/rsyslog.md");
const SYSLOG_NG: &str = include_str!("../../../docs/integrating/syslog-ng.md");

/// A page's way in: a heading with a block of the server's and one of ours.
struct Section {
    heading: String,
    server: String,
    ours: String,
}

/// What every way in needs, and the ways in.
fn sections(page: &str, language: &str) -> (String, Vec<Section>) {
    let block = |section: &str, language: &str| {
        let begin = format!("```{language}\n");
        let blocks = section.split(&begin).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
        blocks.collect::<Vec<_>>()
    };
    let (mut common, mut sections) = (String::new(), Vec::new());
    for section in page.split("\n## ").skip(1) {
        let heading = section.lines().next().unwrap().to_owned();
        let (server, ours) = (block(section, language), block(section, "yaml"));
        match (&server[..], &ours[..]) {
            ([server], [ours]) => sections.push(Section { heading, server: server.clone(), ours: ours.clone() }),
            ([], []) => {}
            (all, []) => common.push_str(&all.join("\n")),
            _ => panic!("{heading}: not one block of each"),
        }
    }
    assert!(common.contains("jumpcloud.ndjson") && sections.len() >= 3, "the page was not understood");
    (common, sections)
}

/// The port of the server's block, and what is written before and behind it.
fn port(server: &str) -> (u16, &str, &str) {
    let begin = [" port=\"", " port("].iter().find_map(|before| Some(server.find(before)? + before.len())).unwrap();
    let end = begin + server[begin..].find(|c: char| !c.is_ascii_digit()).unwrap();
    (server[begin..end].parse().unwrap(), &server[..begin], &server[end..])
}

/// Folders of the test's own in the place of the page's.
fn placed(config: &str) -> String {
    let config = config.replace("/etc/rsyslog.d/tls/", "/jumpstream/").replace("/etc/syslog-ng/tls/", "/jumpstream/");
    config.replace("/var/log/jumpcloud.ndjson", "/received/lines").replace("0640", "0644")
}

/// The scheme of the configuration's address and the port, said or not.
fn address(ours: &str) -> (&str, u16) {
    let address = ours.split("address: \"").nth(1).unwrap().split('"').next().unwrap();
    let (scheme, rest) = address.split_once("://").unwrap();
    let default = match scheme {
        "udp" | "tcp" => 514,
        "tls" => 6514,
        _ => 2514,
    };
    (scheme, rest.split_once(':').map_or(default, |(_, port)| port.parse().unwrap()))
}

async fn every_way_in_works(server: Server, page: &str, language: &str) {
    let (common, sections) = sections(page, language);
    for Section { heading, server: block, ours } in sections {
        let (shown, before, behind) = port(&block);
        let (scheme, meant) = address(&ours);
        assert_eq!(shown, meant, "{heading}: the receiver listens elsewhere than jumpstream sends");
        let name = format!("the guide's {heading}");
        let started = Receiver::configured(server, &name, |own| {
            let block = format!("{before}{own}{behind}");
            // syslog-ng wants its version first, rsyslog its limits.
            placed(&format!("{common}\n{block}"))
        });
        let Some(receiver) = started.await else { return };
        let authority = &receiver.authority;
        let own = format!("localhost:{}", receiver.port(Door::Tcp));
        let said = if ours.contains(&format!(":{meant}\"")) { format!(":{meant}") } else { String::new() };
        let ours = ours
            .replace(&format!("syslog.example.com{said}"), &own)
            .replace("/etc/jumpstream/ca.pem", &authority.ca().display().to_string())
            .replace("/etc/jumpstream/client.pem", &authority.client_certificate().display().to_string())
            .replace("/etc/jumpstream/client.key", &authority.client_key().display().to_string());
        let sink = open_all(&ours);
        let mut rng = Rng::with_seed(4711);
        let most = if scheme == "udp" { 600 } else { 60_000 };
        let records: Vec<Record> =
            (0..50).map(|number| awkward::event(number, if number == 7 { most } else { 400 }, &mut rng)).collect();
        assert_eq!(deliver(&*sink, &records).await, [], "{heading}");
        receiver.await_count(records.len()).await;
        let text = std::fs::read_to_string(receiver.file()).unwrap();
        let got: Vec<&str> = text.split_terminator('\n').map(|line| line.trim_start()).collect();
        assert_eq!(got.len(), records.len(), "{heading}");
        for (record, got) in records.iter().zip(got) {
            assert_eq!(got, awkward::line(record), "{heading}");
        }
        println!("{server:?}, {heading}: what was sent is in the file");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_page_about_rsyslog_shows_works() {
    every_way_in_works(Server::Rsyslog, RSYSLOG, "rsyslog").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_page_about_syslog_ng_shows_works() {
    every_way_in_works(Server::SyslogNg, SYSLOG_NG, "syslog-ng").await;
}
