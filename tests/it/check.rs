//! `check` against an emulated API, brokers and disks: each row green where all is well, and red where it should be.

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
}

impl Setting {
    fn new(endpoint: &str) -> Setting {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), KEY).unwrap();
        Setting {
            folder,
            endpoint: endpoint.into(),
            account: String::new(),
            sinks: "[{type: stdout}]".into(),
            rest: String::new(),
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Looks, and sees that nothing was written and no secret said.
    async fn look(&self) -> Report {
        let text = format!(
            "accounts: [{{endpoint: \"{}\", api_key: {{file: {}}}{}}}]\nsinks: {}\n{}state: {{type: sqlite, path: {}}}\n",
            self.endpoint,
            self.path("key"),
            self.account,
            self.sinks,
            self.rest,
            self.path("state.db"),
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
    says(&report, "licence", State::Yellow, "not known");
    assert_eq!(report.exit_code(), ExitCode::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_is_not_there_is_red_and_all_else_not_known() {
    let report = Setting::new("http://127.0.0.1:9").look().await;
    says(&report, "api", State::Red, "check the name, the network and any proxy");
    for name in ["clock", "key", "organization", "licence", "services"] {
        says(&report, name, State::Yellow, "not known");
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
async fn a_state_in_use_is_green_and_left_alone() {
    let api = api(Options::default()).await;
    let setting = Setting::new(&api.url());
    let store = SqliteStore::open(Path::new(&setting.path("state.db"))).unwrap();
    let key = StreamKey { organization: "o".into(), service: "all".into() };
    jumpstream::store::Store::load(&store, &key).await.unwrap();
    let report = setting.look().await;
    says(&report, "state", State::Green, &format!("in use by process {}", std::process::id()));
    drop(store);
    says(&setting.look().await, "state", State::Green, "there and not in use");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_can_not_be_written_are_red() {
    let api = api(Options::default()).await;
    let mut setting = Setting::new(&api.url());
    let (missing, folder) = (setting.path("no/such/folder/events.ndjson"), setting.path("folder"));
    std::fs::create_dir(&folder).unwrap();
    setting.sinks = format!("[{{type: file, path: {missing}}}, {{type: file, path: {folder}}}]");
    let report = setting.look().await;
    says(&report, &format!("file {missing}"), State::Red, "make the directory");
    says(&report, &format!("file {folder}"), State::Red, "is a directory");
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
