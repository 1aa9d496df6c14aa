//! Everything that the demo needs, in this process: the API, Kafka, a folder, and the pipeline between them.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::Error;
use crate::app::App;
use crate::config::{Config, Environment};
use crate::emulator::{self, Emulator, Kind, Options};

pub(super) const TOPIC: &str = "jumpcloud.events";
const DEAD_TOPIC: &str = "jumpcloud.dead";
pub(super) const PARTITIONS: i32 = 3;
/// By how much the API shows new events late at most: far inside the minute that polls look back.
pub(super) const LATE_MAX: Duration = Duration::from_secs(5);
/// A little less than the day that the pipeline wants, which begins some seconds after the emulator's.
const SPAN: Duration = Duration::from_secs(86_100);
/// Live events a second: a minute of them stays below half a page, above which polls look back less far.
const RATE: f64 = 20.0;
pub(super) const FIRST_KEY: &str = "jca_demo_first";
const SECOND_KEY: &str = "jca_demo_second";

pub(super) struct Stage {
    pub emulator: Emulator,
    pub app: App,
    pub brokers: String,
    /// The burst in one millisecond.
    pub burst: u32,
    /// Goes last: the others write to it.
    pub folder: Folder,
    pub kafka: MockCluster<'static, DefaultProducerContext>,
}

impl Stage {
    /// Makes the events and opens everything; nothing is asked yet.
    pub async fn set(events: u32, seed: u64) -> Result<Stage, Error> {
        let (page_size, burst) = sizes(events);
        let emulator = emulator::start(options(events, seed, burst)).await?;
        let kafka = MockCluster::new(1)?;
        kafka.create_topic(TOPIC, PARTITIONS, 1)?;
        kafka.create_topic(DEAD_TOPIC, 1, 1)?;
        let brokers = kafka.bootstrap_servers();
        let folder = Folder::make()?;
        folder.write_key(FIRST_KEY).map_err(|source| folder.fault(source))?;
        let text = configuration(&emulator.url(), &folder, &brokers, page_size);
        let (config, _) = Config::parse("demo.yaml", &text, &Environment::new())?;
        let app = App::build(config, false).await?;
        Ok(Stage { emulator, app, brokers, burst, folder, kafka })
    }

    /// From now on only [`Self::hand_out_key`]'s key is accepted.
    pub fn revoke_key(emulator: &Emulator) {
        emulator.rotate_key(SECOND_KEY);
    }
}

/// Of a page, and of the burst in one millisecond, which is longer.
pub(super) fn sizes(events: u32) -> (u32, u32) {
    let page_size = (events / 30).clamp(1_000, 10_000);
    (page_size, page_size * 3 / 2)
}

/// An API with every fault that passes by itself.
pub(super) fn options(events: u32, seed: u64, burst: u32) -> Options {
    Options {
        seed,
        events,
        burst,
        span: SPAN.into(),
        rate: RATE,
        keys: vec![FIRST_KEY.to_owned()],
        ties: 0.1,
        duplicates: 0.02,
        future: 25,
        late_share: 0.25,
        late_max: LATE_MAX.into(),
        gzip: true,
        // Else all would be over before it can be watched.
        latency: Duration::from_millis(40).into(),
        fault_share: 0.02,
        faults: vec![Kind::InternalError, Kind::BadGateway, Kind::Unavailable, Kind::CutBody, Kind::EmptyBody],
        ..Options::default()
    }
}

/// As somebody would write it.
fn configuration(api: &str, folder: &Folder, brokers: &str, page_size: u32) -> String {
    let path = |name: &str| quoted(&folder.path(name).to_string_lossy());
    format!(
        "accounts:\n  - {{endpoint: \"{api}\", api_key: {{file: {key}}}, requests_per_second: 80}}\n\
         poll: {{interval: 1s, page_size: {page_size}, start: 24h}}\n\
         sinks:\n  - {{type: kafka, brokers: [\"{brokers}\"], topic: {TOPIC}, delivery: at_least_once}}\n\
         dead_letter: {{topic: {DEAD_TOPIC}}}\n\
         state: {{type: sqlite, path: {state}}}\n\
         server: {{listen: \"127.0.0.1:0\"}}\n\
         page: {{listen: \"127.0.0.1:0\"}}\n",
        key = path("api-key"),
        state = path("jumpstream.db"),
    )
}

/// A JSON string is a YAML string, whatever it says.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A folder that only this user can read and that goes when it is dropped.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub fn make() -> Result<Folder, Error> {
        let below = std::env::temp_dir();
        let name = format!("jumpstream-demo-{}-{:08x}", std::process::id(), getrandom::u32().unwrap_or_default());
        let path = below.join(name);
        // Not an existing one: somebody else may have put it there.
        let made = DirBuilder::new().mode(0o700).create(&path);
        let folder = below.display().to_string();
        made.map(|()| Folder(path)).map_err(|source| Error::Folder { folder, source })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn fault(&self, source: io::Error) -> Error {
        Error::Folder { folder: self.0.display().to_string(), source }
    }

    /// Puts the new key in the old one's place, as an operator would.
    pub fn hand_out_key(&self) -> Result<(), Error> {
        self.write_key(SECOND_KEY).map_err(Error::Key)
    }

    /// A file of ours that is new.
    pub fn write(&self, name: &str, text: &str) -> io::Result<()> {
        write_private(&self.path(name), text)
    }

    pub fn write_key(&self, key: &str) -> io::Result<()> {
        let (fresh, place) = (self.path("api-key.new"), self.path("api-key"));
        write_private(&fresh, key)?;
        std::fs::rename(fresh, place)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed lies where the system removes old files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}
