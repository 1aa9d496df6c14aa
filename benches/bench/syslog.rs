//! `syslog`: the emulator → the released binary → a real rsyslog, and the sink alone, beside rsyslog's own senders with the
//! same messages to the same receiver; and how long a delivery waits by RELP's window.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::api::{Api, Dataset, KEY_VARIABLE};
use crate::broker::docker;
use crate::process::{self, Process};
use crate::{Options, Outcome, bare, row, table};

const EVENTS: u32 = 200_000;
const ROUNDS: usize = 3;
/// A batch of jumpstream's, and one whose waiting is measured.
const BATCH: usize = 10_000;
const SMALL_BATCH: usize = 100;
const WINDOWS: [u32; 3] = [1, 128, 1_024];
/// How often the receiver's file is looked at.
const GLANCE: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Tcp,
    Tls,
    Relp,
    RelpTls,
}

use Transport::*;

/// Not UDP: what a receiver of datagrams has no room for is lost, so the fastest sender loses most.
const TRANSPORTS: [Transport; 4] = [Tcp, Tls, Relp, RelpTls];

impl Transport {
    fn scheme(self) -> &'static str {
        match self {
            Tcp => "tcp",
            Tls => "tls",
            Relp => "relp",
            RelpTls => "relp+tls",
        }
    }

    fn is_tls(self) -> bool {
        matches!(self, Tls | RelpTls)
    }

    fn port(self, first: u16) -> u16 {
        first + self as u16
    }
}

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    /// All of jumpstream, from the API on.
    Program,
    /// The sink, with the records in memory.
    Sink,
    /// From a file.
    Rsyslog,
}

const SUBJECTS: [Subject; 3] = [Subject::Program, Subject::Sink, Subject::Rsyslog];
const PROGRAM: usize = 0;
const SINK: usize = 1;
const RSYSLOG: usize = 2;

#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    /// From when the receiver had the first of it until it had the last.
    wall_seconds: f64,
    cpu_seconds: f64,
    receiver_cpu: f64,
    peak_bytes: u64,
}

pub async fn run(options: &Options) -> Outcome<()> {
    let Some(image) = std::env::var("JUMPSTREAM_TEST_RSYSLOG_IMAGE").ok().filter(|image| !image.is_empty()) else {
        println!("\nSKIPPED: no Docker with an image of rsyslog; run scripts/services, then `. target/services.env`");
        return Ok(());
    };
    let (events, rounds) = (options.events(EVENTS), options.rounds(ROUNDS));
    let folder = tempfile::tempdir()?;
    let stage = Stage::set(&image, folder.path(), events).await?;
    let mut alone = Alone::start(&stage.api.url, &stage.requests)?;
    eprintln!("syslog: writing the messages to a file, as they are sent");
    stage.write_frames(&mut alone).await?;
    let mut all = Vec::new();
    for transport in TRANSPORTS {
        let mut measured = Vec::new();
        for number in 0..=rounds {
            let mut round = [Figures::default(); SUBJECTS.len()];
            for turn in 0..SUBJECTS.len() {
                let place = (number + turn) % SUBJECTS.len();
                round[place] = stage.measure(SUBJECTS[place], transport, number, &mut alone).await?;
                eprintln!("syslog: {transport:?}, round {number}, {:?}: {:?}", SUBJECTS[place], round[place]);
            }
            // The first one warms up.
            if number > 0 {
                measured.push(round);
            }
        }
        all.push((transport, measured));
    }
    show(&all, f64::from(events));
    let mut rows = vec![row!["RELP's window", "events/s", "p50 ms of 100 events", "p99", "CPU s/M"]];
    for window in WINDOWS {
        let sink = stage.sink(Relp, &format!(", window: {window}"));
        let before = stage.length();
        let many = alone.send(BATCH, &sink)?;
        stage.await_length(before + stage.bytes).await?;
        let few = alone.send(SMALL_BATCH, &sink)?;
        stage.await_length(before + 2 * stage.bytes).await?;
        rows.push(row![
            window,
            table::thousands(f64::from(events) / many.wall_seconds),
            format!("{:.2}", few.p50 * 1e3),
            format!("{:.2}", few.p99 * 1e3),
            format!("{:.2}", many.cpu_seconds / f64::from(events) * 1e6),
        ]);
    }
    table::print("syslog: RELP by its window, the sink alone; a delivery waits for all its acknowledgements", &rows);
    Ok(())
}

/// What all are measured with.
struct Stage {
    image: String,
    folder: PathBuf,
    api: Api,
    dataset: Dataset,
    /// The file of what is asked of the emulator.
    requests: String,
    receiver: Server,
    first_port: u16,
    /// What the receiver writes of all events.
    bytes: u64,
}

impl Stage {
    async fn set(image: &str, folder: &Path, events: u32) -> Outcome<Stage> {
        certificates(folder)?;
        eprintln!("syslog: making {events} events");
        let days = events.div_ceil(100_000).max(1);
        let dataset = Dataset { days, later_days: 9, cached_pages: events / 2_000 + 100, ..Dataset::of(events) };
        let api = Api::start(&dataset).await?;
        let first_port = free_ports()?;
        let receiver = Server::start(image, folder, "receiver", &receiving(first_port))?;
        let mut stage = Stage {
            image: image.to_owned(),
            folder: folder.to_owned(),
            requests: folder.join("requests").display().to_string(),
            api,
            dataset,
            receiver,
            first_port,
            bytes: 0,
        };
        // Which pages are asked for, and how long the receiver's file becomes.
        let since = stage.api.now().await?;
        let begun = Instant::now();
        let program = stage.program(Tcp, "warm")?;
        let (taken, status) = program.wait(begun).await?;
        if !status.success() {
            return Err(format!("jumpstream ended with {status}").into());
        }
        eprintln!("syslog: warmed up in {:.1} s", taken.wall_seconds);
        stage.bytes = stage.settled().await?;
        std::fs::write(&stage.requests, stage.api.pages_since(since).await?)?;
        Ok(stage)
    }

    /// How much the receiver has written.
    fn length(&self) -> u64 {
        std::fs::metadata(self.folder.join("lines")).map_or(0, |metadata| metadata.len())
    }

    /// The length when it has stopped growing.
    async fn settled(&self) -> Outcome<u64> {
        let mut last = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = self.length();
            if now == last && now > 0 {
                return Ok(now);
            }
            last = now;
        }
    }

    /// Waits until the file is so long; gives when it began to grow and when it was.
    async fn await_length(&self, wanted: u64) -> Outcome<(Instant, Instant)> {
        let (begun, before) = (Instant::now(), self.length());
        let mut first = None;
        loop {
            let (now, length) = (Instant::now(), self.length());
            if length > before {
                first.get_or_insert(now);
            }
            if length >= wanted {
                return Ok((first.unwrap_or(begun), now));
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("the receiver has {length} bytes of {wanted}").into());
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    fn sink(&self, transport: Transport, more: &str) -> String {
        // The emulator's largest event is larger than a frame may be by default.
        let tls = if transport.is_tls() {
            format!(", tls: {{ca: \"{}\"}}", self.folder.join("ca.pem").display())
        } else {
            String::new()
        };
        let port = transport.port(self.first_port);
        format!(
            "{{type: syslog, address: \"{}://localhost:{port}\", max_message_bytes: 900000{tls}{more}}}",
            transport.scheme()
        )
    }

    fn program(&self, transport: Transport, name: &str) -> Outcome<Process> {
        let place = |kind: &str| self.folder.join(format!("{name}.{kind}"));
        let text = format!(
            "accounts: [{{endpoint: \"{}\", api_key: {{env: {}}}, requests_per_second: 1000}}]\n\
             poll: {{start: \"{}\", interval: 1s}}\nserver: {{listen: \"127.0.0.1:0\"}}\npage: {{listen: \"127.0.0.1:0\"}}\n\
             log: {{level: error}}\nsinks: [{}]\nstate: {{type: sqlite, path: \"{}\"}}\ndead_letter: {{file: \"{}\"}}\n",
            self.api.url,
            KEY_VARIABLE.0,
            self.dataset.start(),
            self.sink(transport, ""),
            place("db").display(),
            place("dead").display(),
        );
        std::fs::write(place("yaml"), text)?;
        let mut command = process::jumpstream();
        command.args(["run", "--until-caught-up", "--config"]).arg(place("yaml")).env(KEY_VARIABLE.0, KEY_VARIABLE.1);
        Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()))
    }

    /// What the sink sends, a line each, for rsyslog to send again.
    async fn write_frames(&self, alone: &mut Alone) -> Outcome<()> {
        let port = frames_port(self.first_port);
        alone.send(
            BATCH,
            &format!("{{type: syslog, address: \"tcp://localhost:{port}\", max_message_bytes: 900000}}"),
        )?;
        let frames = self.folder.join("frames");
        let begun = Instant::now();
        loop {
            let lines = memchr::memchr_iter(b'\n', &std::fs::read(&frames).unwrap_or_default()).count();
            if lines as u64 == alone.records {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("{lines} messages of {}", alone.records).into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn measure(
        &self,
        subject: Subject,
        transport: Transport,
        round: usize,
        alone: &mut Alone,
    ) -> Outcome<Figures> {
        let (receiver_cpu, wanted) = (self.receiver.cpu_seconds()?, self.length() + self.bytes);
        let (span, cpu_seconds, peak_bytes) = match subject {
            Subject::Program => {
                let program = self.program(transport, &format!("{transport:?}-{round}"))?;
                let span = self.await_length(wanted).await?;
                (span, process::cpu_seconds(program.id())?, process::memory(program.id(), "VmHWM").unwrap_or(0))
            }
            Subject::Sink => {
                alone.order(BATCH, &self.sink(transport, ""))?;
                let span = self.await_length(wanted).await?;
                (span, alone.answer()?.cpu_seconds, 0)
            }
            Subject::Rsyslog => {
                let config = sending(transport, transport.port(self.first_port));
                let sender = Server::start(&self.image, &self.folder, "sender", &config)?;
                let span = self.await_length(wanted).await?;
                (span, sender.cpu_seconds()?, process::memory(sender.process, "VmHWM").unwrap_or(0))
            }
        };
        if self.length() != wanted {
            return Err(format!("{subject:?} by {transport:?}: {} bytes, {wanted} were wanted", self.length()).into());
        }
        let receiver_cpu = self.receiver.cpu_seconds()? - receiver_cpu;
        Ok(Figures { wall_seconds: (span.1 - span.0).as_secs_f64(), cpu_seconds, receiver_cpu, peak_bytes })
    }
}

/// An rsyslog in a container on this machine's own network; removed when it is dropped.
struct Server {
    container: String,
    process: u32,
}

impl Server {
    fn start(image: &str, folder: &Path, name: &str, config: &str) -> Outcome<Server> {
        std::fs::write(folder.join(format!("{name}.conf")), config)?;
        let command = format!("exec rsyslogd -n -i NONE -f /bench/{name}.conf");
        let volume = format!("{}:/bench", folder.display());
        let options = ["run", "--detach", "--label", "jumpstream-test", "--network", "host", "--volume", &volume];
        let container = docker(&[&options[..], &[image, "bash", "-c", &command]].concat())?;
        let mut server = Server { container, process: 0 };
        server.process = docker(&["inspect", "--format", "{{.State.Pid}}", &server.container])?.parse()?;
        Ok(server)
    }

    fn cpu_seconds(&self) -> Outcome<f64> {
        process::cpu_seconds(self.process)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = docker(&["rm", "--force", "--volumes", &self.container]) {
            eprintln!("{error}");
        }
    }
}

/// [`bare::deliver`] in a process of its own.
struct Alone {
    records: u64,
    _process: Process,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// What the sink took for all records.
#[derive(Debug, Clone, Copy)]
struct Sent {
    wall_seconds: f64,
    cpu_seconds: f64,
    /// Of one delivery, in seconds.
    p50: f64,
    p99: f64,
}

impl Alone {
    fn start(url: &str, requests: &str) -> Outcome<Alone> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([bare::DELIVER, url, requests]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(&mut command)?;
        let orders = process.0.stdin.take().ok_or("no pipe")?;
        let mut answers = BufReader::new(process.0.stdout.take().ok_or("no pipe")?).lines();
        let records = answers.next().ok_or("the sender ended early")??.parse()?;
        Ok(Alone { records, _process: process, orders, answers })
    }

    fn order(&mut self, batch: usize, sink: &str) -> Outcome<()> {
        Ok(writeln!(self.orders, "{batch} {sink}")?)
    }

    fn answer(&mut self) -> Outcome<Sent> {
        let line = self.answers.next().ok_or("the sender ended early")??;
        let figures = line.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>()?;
        let [wall_seconds, cpu_seconds, p50, p99] = figures[..] else { return Err(line.into()) };
        Ok(Sent { wall_seconds, cpu_seconds, p50, p99 })
    }

    fn send(&mut self, batch: usize, sink: &str) -> Outcome<Sent> {
        self.order(batch, sink)?;
        self.answer()
    }
}

fn show(all: &[(Transport, Vec<[Figures; SUBJECTS.len()]>)], events: f64) {
    let mut rows =
        vec![row!["", "", "events/s", "÷ rsyslog", "own CPU s/M", "÷ rsyslog", "receiver CPU s/M", "peak MiB"]];
    for (transport, rounds) in all {
        let median =
            |figure: &dyn Fn(&[Figures; SUBJECTS.len()]) -> f64| table::median(rounds.iter().map(figure).collect());
        for (place, subject) in SUBJECTS.into_iter().enumerate() {
            let ratio =
                |figure: &dyn Fn(&Figures) -> f64| median(&|round| figure(&round[place]) / figure(&round[RSYSLOG]));
            let cpu = |figure: &dyn Fn(&Figures) -> f64| median(&|round| figure(&round[place])) / events * 1e6;
            let peak = median(&|round| round[place].peak_bytes as f64) / f64::from(1 << 20);
            rows.push(row![
                if place == PROGRAM { transport.scheme() } else { "" },
                match (subject, transport.scheme().starts_with("relp")) {
                    (Subject::Program, _) => "emulator → jumpstream",
                    (Subject::Sink, _) => "its sink alone",
                    (Subject::Rsyslog, true) => "file → rsyslog, omrelp",
                    (Subject::Rsyslog, false) => "file → rsyslog, omfwd",
                },
                table::thousands(events / median(&|round| round[place].wall_seconds)),
                format!("{:.2}", 1.0 / ratio(&|figures| figures.wall_seconds)),
                format!("{:.2}", cpu(&|figures| figures.cpu_seconds)),
                format!("{:.2}", ratio(&|figures| figures.cpu_seconds)),
                format!("{:.2}", cpu(&|figures| figures.receiver_cpu)),
                if place == SINK { "—".to_owned() } else { format!("{peak:.0}") },
            ]);
        }
    }
    let title = format!(
        "syslog: {} events to one rsyslog, each figure the median of {} rounds, ratios round by round; goal ≥ 0.9, and less CPU",
        table::thousands(events),
        all.first().map_or(0, |(_, rounds)| rounds.len())
    );
    table::print(&title, &rows);
}

const TLS: &str = r#"streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="anon""#;

/// As docs/integrating/rsyslog.md has it, at ports side by side; one more writes whole messages.
fn receiving(first: u16) -> String {
    format!(
        r#"global(workDirectory="/tmp" maxMessageSize="1m" parser.escapeControlCharactersOnReceive="off" net.enableDNS="off"
  defaultNetstreamDriverCAFile="/bench/ca.pem" defaultNetstreamDriverCertFile="/bench/server.pem" defaultNetstreamDriverKeyFile="/bench/server.key")
template(name="text" type="string" string="%msg%\n")
template(name="whole" type="string" string="%rawmsg%\n")
ruleset(name="text" queue.type="Direct") {{ action(type="omfile" file="/bench/lines" template="text" fileCreateMode="0644") }}
ruleset(name="whole" queue.type="Direct") {{ action(type="omfile" file="/bench/frames" template="whole" fileCreateMode="0644") }}
module(load="imtcp" maxFrameSize="1000000")
module(load="imrelp" tls.tlslib="openssl")
input(type="imtcp" port="{}" ruleset="text")
input(type="imtcp" port="{}" ruleset="text" {TLS})
input(type="imrelp" port="{}" ruleset="text" maxDataSize="1m")
input(type="imrelp" port="{}" ruleset="text" maxDataSize="1m" tls="on" tls.caCert="/bench/ca.pem" tls.myCert="/bench/server.pem" tls.myPrivKey="/bench/server.key")
input(type="imtcp" port="{}" ruleset="whole")
"#,
        Tcp.port(first),
        Tls.port(first),
        Relp.port(first),
        RelpTls.port(first),
        frames_port(first),
    )
}

/// An rsyslog that sends the file of messages, with the queue that it has by default.
fn sending(transport: Transport, port: u16) -> String {
    let action = match transport {
        Tcp => format!(r#"type="omfwd" protocol="tcp" TCP_Framing="octet-counted" target="127.0.0.1" port="{port}""#),
        Tls => format!(
            r#"type="omfwd" protocol="tcp" TCP_Framing="octet-counted" target="localhost" port="{port}" streamDriver="ossl" streamDriverMode="1" streamDriverAuthMode="x509/name" streamDriverPermittedPeers="localhost""#
        ),
        Relp => format!(r#"type="omrelp" target="127.0.0.1" port="{port}""#),
        RelpTls => format!(
            r#"type="omrelp" target="localhost" port="{port}" tls="on" tls.caCert="/bench/ca.pem" tls.myCert="/bench/server.pem" tls.myPrivKey="/bench/server.key" tls.authMode="name" tls.permittedPeer=["localhost"]"#
        ),
    };
    format!(
        r#"global(workDirectory="/tmp" maxMessageSize="1m" parser.escapeControlCharactersOnReceive="off" defaultNetstreamDriverCAFile="/bench/ca.pem")
module(load="imfile")
module(load="omrelp" tls.tlslib="openssl")
template(name="message" type="string" string="%msg%")
ruleset(name="send") {{ action({action} template="message" action.resumeRetryCount="-1") }}
input(type="imfile" file="/bench/frames" tag="bench" ruleset="send")
"#
    )
}

fn frames_port(first: u16) -> u16 {
    RelpTls.port(first) + 1
}

/// The first of six that are free now.
fn free_ports() -> Outcome<u16> {
    let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let found = (21_000..31_000).step_by(10).find(|first| (*first..first + 6).all(is_free));
    found.ok_or_else(|| "no ports are free".into())
}

/// Of an authority made for the occasion.
fn certificates(folder: &Path) -> Outcome<()> {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    let mut params = CertificateParams::new([])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let (mut params, key) = (CertificateParams::new(["localhost".to_owned()])?, KeyPair::generate()?);
    params.distinguished_name.push(DnType::CommonName, "localhost");
    std::fs::write(folder.join("ca.pem"), ca.pem())?;
    std::fs::write(folder.join("server.pem"), params.signed_by(&key, &ca)?.pem())?;
    Ok(std::fs::write(folder.join("server.key"), key.serialize_pem())?)
}
