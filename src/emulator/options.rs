//! What can be asked of the emulator on the command line, and how its defaults were chosen (insights-api §5).

use std::net::SocketAddr;

use clap::{Args, Parser, ValueEnum};

use super::fault::Kind;
use super::time::{self, Span};

/// The data set, the API's open questions, and its troubles. All of it may be left at its default.
#[derive(Args, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,

    /// The data set is a function of this number and of the options below
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Historic events, over all organizations (bursts, duplicates and future-dated events come on top)
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub events: u32,
    /// The time before the start over which the historic events are spread
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    pub span: Span,
    /// New events per second of the emulator's clock, over all organizations
    #[arg(long, value_name = "PER_SECOND", default_value_t = 0.0, value_parser = rate)]
    pub rate: f64,
    /// How many organizations a key sees; the first is the key's own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub organizations: u32,
    /// An API key that is accepted (may be repeated)
    #[arg(long = "key", value_name = "KEY", default_value = "jca_emulator")]
    pub keys: Vec<String>,

    /// Share of events that fall into the same millisecond as the one before
    #[arg(long, value_name = "SHARE", default_value_t = 0.02, value_parser = share)]
    pub ties: f64,
    /// This many more events in one millisecond, in the middle of the span, in the first organization
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub burst: u32,
    /// Share of events that are stored twice, under another cursor id
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub duplicates: f64,
    /// Share of RADIUS events that repeat an earlier one's id under another timestamp
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, value_parser = share)]
    pub radius_repeats: f64,
    /// Events, visible from the start, whose timestamp lies 2 h in the future
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub future: u32,
    /// Share of events that become visible after their time
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub late_share: f64,
    /// By how much they are late at most
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub late_max: Span,
    /// Older events are silently not shown
    #[arg(long, value_name = "DURATION", default_value = "90d")]
    pub retention: Span,
    /// Bodies of random-looking text of the same sizes, which compress badly
    #[arg(long)]
    pub incompressible: bool,

    /// Whether an event exactly at end_time belongs to the answer
    #[arg(long, value_enum, value_name = "HOW", default_value_t = End::Exclusive)]
    pub end: End,
    /// A limit over 10000: take the default of 1000, or answer 400
    #[arg(long, value_enum, value_name = "HOW", default_value_t = OverLimit::Clamp)]
    pub over_limit: OverLimit,
    /// X-Search_after on an empty page: absent, present as [], or the one that was asked with
    #[arg(long, value_enum, value_name = "HOW", default_value_t = EmptyCursor::Absent)]
    pub empty_cursor: EmptyCursor,
    /// The shape of /events/distinct: as the live API answers, or as its specification says
    #[arg(long, value_enum, value_name = "SHAPE", default_value_t = Distinct::Live)]
    pub distinct: Distinct,
    /// Never send X-Search_after
    #[arg(long)]
    pub no_cursor: bool,
    /// A full page repeats the cursor it was asked with
    #[arg(long)]
    pub repeat_cursor: bool,
    /// Never send X-Limit
    #[arg(long)]
    pub no_limit_header: bool,
    /// Refuse unknown body fields and search_after elements of the wrong type
    #[arg(long)]
    pub strict: bool,
    /// Answer with gzip where the request accepts it
    #[arg(long)]
    pub gzip: bool,

    /// Requests per second and key before 429; 0 is without a limit
    #[arg(long, value_name = "PER_SECOND", default_value_t = 0.0, value_parser = rate)]
    pub rate_limit: f64,
    /// Replicas that requests go to in turn
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub replicas: u32,
    /// Replica k of N shows what was visible k/N of this ago
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub refresh: Span,
    /// How wrong the Date header is
    #[arg(long, value_name = "DURATION", default_value = "0s", allow_hyphen_values = true)]
    pub date_offset: Span,
    /// What its clock shows at the start, RFC 3339 [default: this machine's time]
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub clock: Option<jiff::Timestamp>,
    /// Time that every request takes
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub latency: Span,

    /// Share of requests that fail in some way
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub fault_share: f64,
    /// The ways they fail, separated by commas [default: all that pass by themselves]
    #[arg(long, value_enum, value_name = "KIND", value_delimiter = ',')]
    pub faults: Vec<Kind>,
    /// What Retry-After asks for, in whole seconds
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    pub retry_after: Span,
    /// How long a slow body takes
    #[arg(long, value_name = "DURATION", default_value = "3s")]
    pub slow_body: Span,
    /// Finished pages that are kept to be sent again (one of 10000 events takes about 12 MB)
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub cached_pages: usize,
}

/// Whether `end_time` itself belongs to the answer: unknown of the live API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum End {
    Inclusive,
    Exclusive,
}

/// A `limit` over 10,000: sources disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OverLimit {
    Clamp,
    Refuse,
}

/// `X-Search_after` on an empty page: unknown of the live API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EmptyCursor {
    Absent,
    Present,
    Echo,
}

/// The shape of `/events/distinct`: sources disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Distinct {
    Live,
    Swagger,
}

impl Default for Options {
    /// The defaults of the command line.
    fn default() -> Options {
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            options: Options,
        }
        Line::try_parse_from(["emulate"]).expect("every option has a default that parses").options
    }
}

impl Options {
    /// What makes these options useless, in words.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let shares = [self.ties, self.duplicates, self.radius_repeats, self.late_share, self.fault_share];
        match () {
            () if self.organizations == 0 => Some("there must be an organization; give --organizations 1 or more"),
            () if self.keys.is_empty() => Some("there must be a key; give --key"),
            () if self.replicas == 0 => Some("there must be a replica; give --replicas 1 or more"),
            () if shares.iter().any(|share| !(0.0..=1.0).contains(share)) => Some("a share lies between 0 and 1"),
            () if !(0.0..=1e6).contains(&self.rate) => Some("--rate lies between 0 and 1000000"),
            () if !(0.0..=1e6).contains(&self.rate_limit) => Some("--rate-limit lies between 0 and 1000000"),
            () if self.span.nanos() <= 0 => Some("--span must be longer than nothing"),
            () => None,
        }
    }
}

/// Checked here too, so that the message names the option.
fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a share lies between 0 and 1".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.0..=1e6).contains(rate));
    rate.ok_or_else(|| "a rate lies between 0 and 1000000 a second".to_owned())
}

fn instant(text: &str) -> Result<jiff::Timestamp, String> {
    let nanos = time::parse(text).ok_or_else(|| format!("`{text}` is no time; write 2026-03-02T08:00:00Z"))?;
    Ok(time::timestamp_of(nanos))
}
