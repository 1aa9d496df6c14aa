//! A receiver in a container: rsyslog or syslog-ng, with every door that it has, writing what it understood of each message as a line of JSON.
//!
//! # Invariants
//! It listens on loopback of this machine itself, so nothing stands between it and the sink. Its addresses and what it
//! has written outlive [`Receiver::kill`] and [`Receiver::terminate`].

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use super::certificate::{Authority, CLIENT, NAME};
use crate::container::{Container, Plan, free_ports, image_or_skip};
use crate::process::eventually;

/// Where a receiver's files are inside its container.
pub const CONFIG: &str = "/jumpstream/receiver.conf";
const RECEIVED: &str = "/received";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    Rsyslog,
    SyslogNg,
}

/// A port of a receiver, and what is spoken there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Udp,
    /// rsyslog tells by itself how messages are framed and which of the two formats they have.
    Tcp,
    Tls,
    /// Wants the certificate of [`CLIENT`].
    MutualTls,
    Relp,
    RelpTls,
    RelpMutualTls,
    /// syslog-ng's `network()`: a message ends at the line's end. RFC 3164.
    OldTcp,
    OldTls,
    OldUdp,
}

use Door::*;

const DOORS: [Door; 10] = [Udp, Tcp, Tls, MutualTls, Relp, RelpTls, RelpMutualTls, OldTcp, OldTls, OldUdp];

/// What a receiver is to be like.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// rsyslog's main queue. Direct: a message is in the file before it is acknowledged. Else it is in memory, from where
    /// it comes to the file by little and little.
    pub direct: bool,
    /// What it writes to takes little at a time.
    pub slow: bool,
}

pub const PLAIN: Wish = Wish { direct: true, slow: false };

/// A message as the receiver understood it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub pri: String,
    /// RFC 3339, where the format has a year and a zone.
    pub time: String,
    pub host: String,
    pub app: String,
    pub msgid: String,
    /// Structured data: elements, parameters, values.
    pub data: BTreeMap<String, BTreeMap<String, String>>,
    pub text: String,
    /// rsyslog only: how many bytes the message had.
    pub length: Option<usize>,
}

pub struct Receiver {
    container: Container,
    ports: [u16; DOORS.len()],
    folder: TempDir,
    /// So many bytes of the file were read, and so many line ends were in them.
    counted: Mutex<(u64, usize)>,
    /// The sockets that it has when nobody is connected.
    own_sockets: usize,
    pub authority: Authority,
}

impl Receiver {
    /// None after saying why `test` is skipped.
    pub async fn start(server: Server, test: &str, wish: Wish) -> Option<Receiver> {
        let authority = Authority::new();
        let ports = free_ports();
        let config = match server {
            Server::Rsyslog => rsyslog(&ports, wish),
            Server::SyslogNg => syslog_ng(&ports),
        };
        Receiver::start_with(server, test, config, authority, ports, wish.slow).await
    }

    /// One with a configuration of the test's own for a single port, that of [`Door::Tcp`] whatever is spoken there: it
    /// writes to `/received/lines`, and its certificates are in `/jumpstream`.
    pub async fn configured(server: Server, test: &str, config: impl FnOnce(u16) -> String) -> Option<Receiver> {
        let ports = free_ports();
        Receiver::start_with(server, test, config(port(&ports, Tcp)), Authority::new(), ports, false).await
    }

    async fn start_with(
        server: Server,
        test: &str,
        config: String,
        authority: Authority,
        ports: [u16; DOORS.len()],
        slow: bool,
    ) -> Option<Receiver> {
        let (variable, name, program) = match server {
            Server::Rsyslog => ("JUMPSTREAM_TEST_RSYSLOG_IMAGE", "rsyslog", "rsyslogd -n -i NONE -f"),
            Server::SyslogNg => ("JUMPSTREAM_TEST_SYSLOG_NG_IMAGE", "syslog-ng", "syslog-ng -F --no-caps -f"),
        };
        let image = image_or_skip(variable, name, test)?;
        let folder = tempfile::tempdir().unwrap();
        // Whoever the server is inside its container.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        // A pipe that is emptied by little and little: whoever writes to it waits as for a slow disk.
        let drain = "mkfifo /slow; (while :; do dd bs=16384 count=1 status=none; sleep 0.02; done < /slow >> \
                     /received/lines) & ";
        let begin = format!("{}exec {program} {CONFIG}", if slow { drain } else { "" });
        let pair = authority.server();
        let plan = Plan {
            image,
            command: ["bash", "-c", &begin].map(str::to_owned).to_vec(),
            files: vec![
                (CONFIG, config),
                ("/jumpstream/ca.pem", authority.pem.clone()),
                ("/jumpstream/server.pem", pair.certificate),
                ("/jumpstream/server.key", pair.key),
            ],
            on_our_network: true,
            shared: Some((folder.path().to_owned(), RECEIVED)),
            ..Plan::default()
        };
        let container = match Container::start(&plan).await {
            Ok(container) => container,
            Err(error) => panic!("starting {name}: {error}"),
        };
        let mut receiver = Receiver { container, ports, folder, counted: Mutex::default(), own_sockets: 0, authority };
        receiver.await_ready().await;
        receiver.own_sockets = receiver.sockets().await;
        Some(receiver)
    }

    pub fn port(&self, door: Door) -> u16 {
        port(&self.ports, door)
    }

    /// A sink of this door as the configuration has it, with `more` keys, each begun by a comma.
    pub fn sink(&self, door: Door, more: &str) -> String {
        self.sink_at(door, self.port(door), more)
    }

    /// The same by way of another port.
    pub fn sink_at(&self, door: Door, port: u16, more: &str) -> String {
        let scheme = match door {
            Udp | OldUdp => "udp",
            Tcp | OldTcp => "tcp",
            Tls | MutualTls | OldTls => "tls",
            Relp => "relp",
            RelpTls | RelpMutualTls => "relp+tls",
        };
        let host = if self.tls(door).is_some() { NAME } else { "127.0.0.1" };
        let old = match door {
            OldTcp | OldTls => ", format: rfc3164, framing: newline",
            OldUdp => ", format: rfc3164",
            _ => "",
        };
        let tls = self.tls(door).unwrap_or_default();
        format!("{{type: syslog, address: \"{scheme}://{host}:{port}\"{tls}{old}{more}}}")
    }

    fn tls(&self, door: Door) -> Option<String> {
        let ca = self.authority.ca();
        match door {
            Tls | OldTls | RelpTls => Some(format!(", tls: {{ca: {}}}", ca.display())),
            MutualTls | RelpMutualTls => Some(format!(
                ", tls: {{ca: {}, certificate: {}, key: {}}}",
                ca.display(),
                self.authority.client_certificate().display(),
                self.authority.client_key().display()
            )),
            _ => None,
        }
    }

    /// What it writes to.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("lines")
    }

    pub fn length(&self) -> u64 {
        std::fs::metadata(self.file()).map_or(0, |metadata| metadata.len())
    }

    /// How many whole lines there are. What was looked at once is not read again.
    pub fn count(&self) -> usize {
        let mut counted = self.counted.lock().unwrap();
        let bytes = self.bytes(counted.0);
        counted.0 += bytes.len() as u64;
        counted.1 += memchr::memchr_iter(b'\n', &bytes).count();
        counted.1
    }

    fn bytes(&self, from: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Ok(mut file) = std::fs::File::open(self.file()) {
            file.seek(SeekFrom::Start(from)).unwrap();
            file.read_to_end(&mut bytes).unwrap();
        }
        bytes
    }

    /// All messages so far, and how many lines were none of ours.
    pub fn received(&self) -> (Vec<Received>, usize) {
        self.received_from(0)
    }

    /// Those behind a [`Self::length`] of before.
    pub fn received_from(&self, place: u64) -> (Vec<Received>, usize) {
        let bytes = self.bytes(place);
        let whole = memchr::memrchr(b'\n', &bytes).map_or(0, |end| end + 1);
        let lines = bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let read: Vec<Option<Received>> = lines.map(Received::read).collect();
        let foreign = read.iter().filter(|line| line.is_none()).count();
        (read.into_iter().flatten().collect(), foreign)
    }

    /// Waits until it has written so many lines.
    pub async fn await_count(&self, count: usize) {
        let mut seen = 0;
        // As long as more comes the deadline is a new one.
        while seen < count {
            seen = eventually(&format!("{count} messages are received (of which {seen} are)"), async || {
                Some(self.count()).filter(|now| *now > seen)
            })
            .await;
        }
    }

    /// Waits until nobody is connected to a door any more and all that came by it is written: the server has closed
    /// its sockets, which it does when it is done with what it has read, a connection that was reset too.
    pub async fn await_quiet(&self, door: Door) {
        eventually("the receiver has read all that was sent", async || {
            let states = states("tcp", self.port(door));
            let is_connected = states.iter().any(|state| [ESTABLISHED, CLOSE_WAIT].contains(&&state[..]));
            (!is_connected && self.sockets().await <= self.own_sockets).then_some(())
        })
        .await;
    }

    /// How many sockets the server has open.
    async fn sockets(&self) -> usize {
        let list = self.container.run(["ls", "-l", "/proc/1/fd"].map(str::to_owned).to_vec()).await;
        list.lines().filter(|line| line.contains("socket:")).count()
    }

    /// SIGKILL; returns when it is gone.
    pub async fn kill(&self) {
        self.container.kill().await;
    }

    /// SIGTERM; returns when it has ended.
    pub async fn terminate(&self) {
        self.container.terminate().await;
    }

    /// Returns when it answers again.
    pub async fn start_again(&self) {
        self.container.start_again().await;
        self.await_ready().await;
    }

    pub async fn pause(&self) {
        self.container.pause().await;
    }

    pub async fn unpause(&self) {
        self.container.unpause().await;
    }

    pub async fn log(&self) -> String {
        self.container.log().await
    }

    async fn await_ready(&self) {
        let begun = std::time::Instant::now();
        while !is_listening(self.port(Tcp)) {
            let runs = self.container.is_running().await;
            if !runs || begun.elapsed() > Duration::from_secs(90) {
                panic!("the receiver does not listen (it runs: {runs}):\n{}", self.log().await);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the receiver had written {} lines to {}", self.count(), self.file().display());
        }
    }
}

/// States of sockets as proc(5) has them.
const ESTABLISHED: &str = "01";
const CLOSE_WAIT: &str = "08";
const LISTEN: &str = "0A";

/// The state of every socket of this machine at that port of its own.
fn states(protocol: &str, port: u16) -> Vec<String> {
    let port = format!(":{port:04X}");
    let mut states = Vec::new();
    for version in ["", "6"] {
        let table = std::fs::read_to_string(format!("/proc/net/{protocol}{version}")).unwrap_or_default();
        for line in table.lines().skip(1) {
            let mut fields = line.split_whitespace().skip(1);
            let (local, _, state) = (fields.next(), fields.next(), fields.next());
            states.extend(state.filter(|_| local.is_some_and(|local| local.ends_with(&port))).map(str::to_owned));
        }
    }
    states
}

/// By TCP, or by UDP, where there is nothing else to a socket.
fn is_listening(port: u16) -> bool {
    states("tcp", port).iter().any(|state| state == LISTEN) || !states("udp", port).is_empty()
}

fn port(ports: &[u16; DOORS.len()], door: Door) -> u16 {
    ports[DOORS.iter().position(|each| *each == door).expect("every door is listed")]
}

/// A line of either server.
#[derive(Deserialize)]
struct Line {
    pri: String,
    time: String,
    host: String,
    app: String,
    msgid: String,
    text: String,
    length: Option<String>,
    /// rsyslog: a text that is JSON, or nothing.
    data: Option<String>,
    /// syslog-ng.
    #[serde(rename = "_SDATA")]
    sdata: Option<Value>,
}

impl Received {
    /// None for what neither server has written of a whole message.
    pub fn read(line: &[u8]) -> Option<Received> {
        let line: Line = serde_json::from_slice(line).ok()?;
        let data = match (line.sdata, line.data) {
            (Some(data), _) => data,
            (None, Some(text)) if !text.is_empty() => serde_json::from_str(&text).ok()?,
            _ => Value::Object(serde_json::Map::new()),
        };
        Some(Received {
            pri: line.pri,
            time: line.time,
            host: line.host,
            app: line.app,
            msgid: line.msgid,
            data: serde_json::from_value(data).ok()?,
            text: line.text,
            length: line.length.and_then(|length| length.parse().ok()),
        })
    }

    /// A parameter of the first element that has it.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.data.values().find_map(|element| element.get(name)).map(String::as_str)
    }
}

/// All doors of rsyslog.
fn rsyslog(ports: &[u16; DOORS.len()], wish: Wish) -> String {
    let of = |door| port(ports, door);
    let queue = if wish.direct {
        r#"queue.type="Direct""#
    } else {
        r#"queue.dequeueSlowdown="20000" queue.dequeueBatchSize="8""#
    };
    let file = if wish.slow { "/slow" } else { "/received/lines" };
    let tls = r#"streamDriver.name="ossl" streamDriver.mode="1""#;
    let relp = r#"tls="on" tls.caCert="/jumpstream/ca.pem" tls.myCert="/jumpstream/server.pem" tls.myPrivKey="/jumpstream/server.key""#;
    format!(
        r#"global(workDirectory="/tmp" maxMessageSize="1m" net.enableDNS="off"
  parser.escapeControlCharactersOnReceive="off"
  defaultNetstreamDriverCAFile="/jumpstream/ca.pem"
  defaultNetstreamDriverCertFile="/jumpstream/server.pem"
  defaultNetstreamDriverKeyFile="/jumpstream/server.key")
main_queue({queue})
module(load="mmpstrucdata")
module(load="imudp")
module(load="imtcp" maxFrameSize="1000000")
module(load="imrelp" tls.tlslib="openssl")
input(type="imudp" address="127.0.0.1" port="{}" rcvbufSize="64m")
input(type="imtcp" address="127.0.0.1" port="{}")
input(type="imtcp" address="127.0.0.1" port="{}" {tls} streamDriver.authMode="anon")
input(type="imtcp" address="127.0.0.1" port="{}" {tls} streamDriver.authMode="x509/name" permittedPeer=["{CLIENT}"])
input(type="imrelp" address="127.0.0.1" port="{}" maxDataSize="1m")
input(type="imrelp" address="127.0.0.1" port="{}" maxDataSize="1m" {relp})
input(type="imrelp" address="127.0.0.1" port="{}" maxDataSize="1m" {relp} tls.authMode="name" tls.permittedPeer=["{CLIENT}"])
{RSYSLOG_LINE}
set $.length = strlen($rawmsg);
action(type="mmpstrucdata")
action(type="omfile" file="{file}" template="line" fileCreateMode="0644")
"#,
        of(Udp),
        of(Tcp),
        of(Tls),
        of(MutualTls),
        of(Relp),
        of(RelpTls),
        of(RelpMutualTls),
    )
}

/// The template of what rsyslog writes.
pub const RSYSLOG_LINE: &str = r#"template(name="line" type="list") {
  constant(value="{\"pri\":\"") property(name="pri")
  constant(value="\",\"time\":\"") property(name="timereported" dateFormat="rfc3339")
  constant(value="\",\"host\":\"") property(name="hostname" format="json")
  constant(value="\",\"app\":\"") property(name="app-name" format="json")
  constant(value="\",\"msgid\":\"") property(name="msgid" format="json")
  constant(value="\",\"data\":\"") property(name="$!rfc5424-sd" format="json")
  constant(value="\",\"text\":\"") property(name="msg" format="json")
  constant(value="\",\"length\":\"") property(name="$.length")
  constant(value="\"}\n")
}"#;

/// The template of what syslog-ng writes.
pub const SYSLOG_NG_LINE: &str = r#"template line {
  template('$(format-json pri="$PRI" time="$S_ISODATE" host="$HOST" app="$PROGRAM" msgid="$MSGID" text="$MESSAGE" --key .SDATA.*)
');
};"#;

/// All doors of syslog-ng; it has no RELP.
fn syslog_ng(ports: &[u16; DOORS.len()]) -> String {
    let of = |door| port(ports, door);
    let tls = r#"key-file("/jumpstream/server.key") cert-file("/jumpstream/server.pem")"#;
    let mutual = r#"ca-file("/jumpstream/ca.pem") peer-verify(required-trusted)"#;
    let size = "log-fetch-limit(100) log-iw-size(10000)";
    format!(
        r#"@version: 3.38
options {{ keep-hostname(yes); chain-hostnames(no); use-dns(no); stats-freq(0); log-msg-size(1048576); frac-digits(6); time-zone("UTC"); log-fifo-size(100000); }};
{SYSLOG_NG_LINE}
source received {{
  syslog(ip("127.0.0.1") port({}) transport("tcp") {size});
  syslog(ip("127.0.0.1") port({}) transport("udp"));
  syslog(ip("127.0.0.1") port({}) transport("tls") {size} tls({tls} peer-verify(optional-untrusted)));
  syslog(ip("127.0.0.1") port({}) transport("tls") {size} tls({tls} {mutual}));
  network(ip("127.0.0.1") port({}) transport("tcp") {size});
  network(ip("127.0.0.1") port({}) transport("tls") {size} tls({tls} peer-verify(optional-untrusted)));
  network(ip("127.0.0.1") port({}) transport("udp"));
}};
destination lines {{ file("/received/lines" template(line) perm(0644)); }};
log {{ source(received); destination(lines); flags(flow-control); }};
"#,
        of(Tcp),
        of(Udp),
        of(Tls),
        of(MutualTls),
        of(OldTcp),
        of(OldTls),
        of(OldUdp),
    )
}
