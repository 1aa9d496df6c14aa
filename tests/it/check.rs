//! `check` against an emulated API, brokers and disks: each row green where all is well, and red where it should be.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use jumpstream::cli::check::{Report, Row, State, look};
use jumpstream::emulator::{self, Emulator, Options};
use jumpstream::exit_code::ExitCode;
use jumpstream::ledger::StreamKey;
use jumpstream::store::sqlite::SqliteStore;
use rdkafka::mocking::MockCluster;

use crate::kafka::{Kafka, unique};
use crate::source::server::{Server, answer, untrusted};

const KEY: &str = "jca_a_very_secret_key";

/// A folder with a key, and a configuration in it.
struct Setting {
    folder: tempfile::TempDir,
    endpoint: String,
    /// Further keys of the account, flow style: `, organizations: […]`.
    account: String,
    sinks: String,
    rest: String,
    /// `server.listen` and `page.listen`.
    listen: [String; 2],
}

impl Setting {
    fn new(endpoint: &str) -> Setting {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), KEY).unwrap();
        set_mode(&folder.path().join("key"), 0o600);
        Setting {
            folder,
            endpoint: endpoint.into(),
            account: String::new(),
            sinks: "[{type: stdout}]".into(),
            rest: String::new(),
            listen: ["127.0.0.1:0".into(), "127.0.0.1:0".into()],
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Looks, and sees that nothing was written and no secret said.
    async fn look(&self) -> Report {
        let text = format!(
            "accounts: [{{endpoint: \"{}\", api_key: {{file: {}}}{}}}]\nsinks: {}\n{}state: {{type: sqlite, path: {}}}\n\
             server: {{listen: \"{}\"}}\npage: {{listen: \"{}\"}}\n",
            self.endpoint,
            self.path("key"),
            self.account,
            self.sinks,
            self.rest,
            self.path("state.db"),
            self.listen[0],
            self.listen[1],
        );
        std::fs::write(self.path("c.yaml"), text).unwrap();
        let before = files(self.folder.path());
        let path = self.folder.path().join("c.yaml");
        let looked = tokio::time::timeout(Duration::from_secs(60), look(&path, false));
        let report = looked.await.expect("every question has ten seconds");
        assert_eq!(files(self.folder.path()), before, "nothing is written");
        assert!(!report.json().contains(KEY) && !report.table(true).contains(KEY), "{}", report.table(false));
        report
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn files(folder: &Path) -> Vec<(String, u64)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.metadata().unwrap().len()))
        .collect();
    files.sort();
    files
}

async fn api(options: Options) -> Emulator {
    emulator::start(Options { keys: vec![KEY.into()], events: 500, ..options }).await.unwrap()
}

#[track_caller]
fn row<'a>(report: &'a Report, name: &str) -> &'a Row {
    report.rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no {name}: {}", report.table(false)))
}

/// The row has that colour, and says that.
#[track_caller]
fn says(report: &Report, name: &str, state: State, said: &str) {
    let row = row(report, name);
    assert_eq!(row.state, state, "{}", report.table(false));
    let text = format!("{} → {}", row.finding, row.remedy.as_deref().unwrap_or_default());
    assert!(text.contains(said), "{text}");
    assert_eq!(row.remedy.is_none(), state == State::Green, "what is not green has a remedy: {row:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_green_where_all_is_well() {
    let api = api(Options::default()).await;
    let report = Setting::new(&api.url()).look().await;
    let names: Vec<&str> = report.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "configuration",
            "state",
            "server.listen",
            "page.listen",
            "api",
            "clock",
            "key",
            "organization",
            "licence",
            "services",
            "rate",
            "standard output"
        ]
    );
    assert_eq!(report.state, State::Green, "{}", report.table(false));
    assert_eq!(report.exit_code(), ExitCode::Done);
    says(&report, "organization", State::Green, "5f00000000000000000000aa");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_red_and_not_the_apis_fault() {
    let api = emulator::start(Options { keys: vec!["another".into()], ..Options::default() }).await.unwrap();
    let report = Setting::new(&api.url()).look().await;
    says(&report, "key", State::Red, "write a valid key to its file");
    says(&report, "api", State::Green, "answers");
    says(&report, "clock", State::Green, "agree");
    for name in ["organization", "licence", "services"] {
        says(&report, name, State::Yellow, "not known, since the key is refused");
    }
    assert_eq!(report.exit_code(), ExitCode::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_is_not_there_is_red_and_all_else_not_known() {
    let report = Setting::new("http://127.0.0.1:9").look().await;
    says(&report, "api", State::Red, "check the name, the network and any proxy");
    for name in ["clock", "key", "organization", "licence", "services"] {
        says(&report, name, State::Yellow, "not known, since the API did not answer");
    }
    assert_eq!(report.exit_code(), ExitCode::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_vouches_for_is_red() {
    let report = Setting::new(&untrusted().await).look().await;
    says(&report, "api", State::Red, "ca-certificates");
    says(&report, "key", State::Yellow, "not known");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_an_hour_off_is_red_and_one_five_minutes_off_yellow() {
    let off = |seconds| Options { date_offset: Duration::from_secs(seconds).into(), ..Options::default() };
    let report = Setting::new(&api(off(3_600)).await.url()).look().await;
    says(&report, "clock", State::Red, "behind the API's");
    let report = Setting::new(&api(off(300)).await.url()).look().await;
    says(&report, "clock", State::Yellow, "set this machine's clock");
    assert_eq!(report.exit_code(), ExitCode::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_licence_and_a_forbidden_account_are_red() {
    let unlicensed = refusing(402, "no licence").await;
    let report = Setting::new(&unlicensed.url()).look().await;
    says(&report, "licence", State::Red, "no licence");
    says(&report, "api", State::Green, "answers");
    let forbidden = refusing(403, "no role").await;
    let report = Setting::new(&forbidden.url()).look().await;
    says(&report, "key", State::Red, "check the admin's role");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_from_outside_is_escaped() {
    let server = refusing(401, r"\u001b[2Jgone").await;
    let report = Setting::new(&server.url()).look().await;
    assert!(!report.table(false).contains('\x1b'), "{}", report.table(false));
    says(&report, "key", State::Red, "[2Jgone");
}

/// An API that answers everything with the same refusal.
async fn refusing(status: u16, message: &str) -> Server {
    Server::saying(answer(status, &[], format!(r#"{{"message":"{message}"}}"#))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_that_the_key_does_not_see_is_red() {
    let api = api(Options { organizations: 2, ..Options::default() }).await;
    let mut setting = Setting::new(&api.url());
    let report = setting.look().await;
    says(&report, "organization", State::Yellow, "organizations: [5f00000000000000000000aa]");
    setting.account = ", organizations: [5f00000000000000000000aa, 5f0000000000000000000999]".into();
    let report = setting.look().await;
    says(&report, "organization", State::Red, "5f0000000000000000000999");
    says(&report, "key", State::Green, "accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_the_api_does_not_know_is_red_and_a_rate_that_is_too_low_yellow() {
    let api = api(Options::default()).await;
    let mut setting = Setting::new(&api.url());
    setting.account = ", services: [sso, no_such_service], requests_per_second: 0.05".into();
    let report = setting.look().await;
    says(&report, "services", State::Red, "no_such_service");
    says(&report, "key", State::Green, "accepted");
    says(&report, "rate", State::Yellow, "polled every 40 s, not every 15 s");
    assert_eq!(report.exit_code(), ExitCode::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_without_events_is_yellow() {
    let api = emulator::start(Options { keys: vec![KEY.into()], events: 0, ..Options::default() }).await.unwrap();
    let report = Setting::new(&api.url()).look().await;
    says(&report, "services", State::Yellow, "a lapsed licence");
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_and_topics_that_are_missing_are_red() {
    let api = api(Options::default()).await;
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("events", 3, 1).unwrap();
    let mut setting = Setting::new(&api.url());
    let brokers = cluster.bootstrap_servers();
    let sink = |topic: &str, brokers: &str| {
        format!("[{{type: kafka, brokers: [\"{brokers}\"], topic: {topic}, delivery: at_least_once}}]")
    };
    setting.sinks = sink("events", &brokers);
    let report = setting.look().await;
    says(&report, "topic events", State::Green, "3 partitions");
    says(&report, "record size", State::Red, "there is no dead_letter");
    setting.rest = format!("dead_letter: {{file: {}}}\n", setting.path("dead.ndjson"));
    let report = setting.look().await;
    says(&report, "record size", State::Yellow, "becomes a dead letter");
    says(&report, "dead letters", State::Green, "it can be made");
    setting.rest.push_str("control: {file: /nowhere/control.ndjson}\n");
    let report = setting.look().await;
    says(&report, "control records", State::Red, "can't be written to");
    setting.sinks = sink("events", "127.0.0.1:9");
    let report = setting.look().await;
    says(&report, "brokers", State::Red, "no broker of 127.0.0.1:9 answers");
    assert_eq!(report.exit_code(), ExitCode::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_topic_is_looked_at_and_a_missing_one_is_not_made() {
    let Some(kafka) = Kafka::shared("check of a topic").await else { return };
    let api = api(Options::default()).await;
    let topic = unique("checked");
    let mut setting = Setting::new(&api.url());
    setting.sinks =
        format!("[{{type: kafka, brokers: [\"{}\"], topic: {topic}, delivery: at_least_once}}]", kafka.bootstrap());
    for _ in 0..2 {
        let report = setting.look().await;
        says(&report, "brokers", State::Green, "1 at");
        says(&report, &format!("topic {topic}"), State::Red, "kafka-topics.sh");
    }
    kafka.create_topic(&topic, 2, &[("max.message.bytes", "20000000")]).await;
    let report = setting.look().await;
    says(&report, &format!("topic {topic}"), State::Green, "2 partitions");
    says(&report, "record size", State::Green, "20000000");
    assert_eq!(report.state, State::Green, "{}", report.table(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_in_use_is_yellow_and_left_alone() {
    let api = api(Options::default()).await;
    let setting = Setting::new(&api.url());
    let store = SqliteStore::open(Path::new(&setting.path("state.db"))).unwrap();
    let key = StreamKey { organization: "o".into(), service: "all".into() };
    jumpstream::store::Store::load(&store, &key).await.unwrap();
    let report = setting.look().await;
    says(&report, "state", State::Yellow, &format!("in use by process {}", std::process::id()));
    drop(store);
    says(&setting.look().await, "state", State::Green, "there and not in use");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_can_not_be_written_are_red() {
    let api = api(Options::default()).await;
    let mut setting = Setting::new(&api.url());
    let (missing, folder) = (setting.path("no/such/folder/events.ndjson"), setting.path("folder"));
    std::fs::create_dir(&folder).unwrap();
    // Where nobody can make a file, whatever the folder's rights say.
    let nowhere = "/proc/events.ndjson";
    setting.sinks =
        format!("[{{type: file, path: {missing}}}, {{type: file, path: {folder}}}, {{type: file, path: {nowhere}}}]");
    let report = setting.look().await;
    says(&report, &format!("file {missing}"), State::Red, "make the directory");
    says(&report, &format!("file {folder}"), State::Red, "is a directory");
    says(&report, &format!("file {nowhere}"), State::Red, "/proc can't be written to");
    std::fs::write(setting.path("state.db"), "this is not a database of ours, not at all").unwrap();
    says(&setting.look().await, "state", State::Red, "is no state of jumpstream");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_configuration_asks_nobody() {
    let mut setting = Setting::new("http://127.0.0.1:9");
    setting.rest = "poll: {interval: 5}\n".into();
    let report = setting.look().await;
    assert_eq!(report.rows.len(), 1, "{}", report.table(false));
    assert_eq!(report.exit_code(), ExitCode::Configuration);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_red_and_yellow_where_the_running_instance_has_it() {
    let api = api(Options::default()).await;
    let mut setting = Setting::new(&api.url());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    setting.listen[1] = address.clone();
    let report = setting.look().await;
    says(&report, "server.listen", State::Green, "takes any free port");
    says(&report, "page.listen", State::Red, "give page.listen another port");
    assert_eq!(report.exit_code(), ExitCode::Failed);
    let store = SqliteStore::open(Path::new(&setting.path("state.db"))).unwrap();
    let report = setting.look().await;
    says(&report, "page.listen", State::Yellow, &format!("{address} is taken, as it seems by process"));
    assert_eq!(report.exit_code(), ExitCode::Done);
    drop((store, taken));
    says(&setting.look().await, "page.listen", State::Green, &format!("{address} is free"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_everybody_may_read_is_yellow_and_one_of_a_group_is_not() {
    let api = api(Options::default()).await;
    let setting = Setting::new(&api.url());
    let key = setting.folder.path().join("key");
    for mode in [0o400, 0o440, 0o640] {
        set_mode(&key, mode);
        assert_eq!(setting.look().await.state, State::Green, "{mode:o}");
    }
    set_mode(&key, 0o644);
    let report = setting.look().await;
    let row = report.rows.iter().find(|row| row.state == State::Yellow).unwrap();
    assert!(row.finding.contains("can be read by other users (mode 644)"), "{row:?}");
    assert!(row.remedy.as_deref().unwrap().starts_with("chmod 600 "), "{row:?}");
    assert_eq!(report.exit_code(), ExitCode::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_key_file_is_a_fault_of_the_configuration() {
    let setting = Setting::new("http://127.0.0.1:9");
    std::fs::write(setting.path("key"), " \n").unwrap();
    let report = setting.look().await;
    says(&report, "configuration", State::Red, "is empty");
    assert_eq!(report.exit_code(), ExitCode::Configuration);
}
