//! Events as bytes: a bounded pool of templates, into which the few things that differ are written.
//!
//! A page of 10,000 events is copied together from these; nothing is serialized while a client waits.

use super::body;
use super::catalog::{SERVICES, Service};
use super::random::{Random, mix};
use super::time::Writer;

/// Every so many events one is large, so that even a small data set has some.
const LARGE_EVERY: u32 = 2_500;
/// Tickets of the lottery that decides an event's template.
const TICKETS: u32 = 1 << 16;
/// Bytes of random text that incompressible events take theirs from: far more than any compressor's window holds.
const NOISE: usize = 16 << 20;

const USERS: [&str; 16] = [
    "ana",
    "mreyes",
    "j.novak",
    "zofie",
    "b.obrien",
    "yamada",
    "svc-backup",
    "o'hara",
    "li.wei",
    "k-petersen",
    "nora_s",
    "test.user.with.a.long.name",
    "root",
    "a",
    "pavel",
    "dita",
];

/// One kind of event.
pub(super) struct Template {
    pub service: &'static str,
    pub event_type: &'static str,
    /// Timestamps are whole multiples of this many nanoseconds.
    pub precision: i64,
    pieces: Vec<(Box<[u8]>, Hole)>,
    tail: Box<[u8]>,
    /// How many bytes it takes, about.
    pub size: usize,
}

/// What is written between two pieces.
#[derive(Clone, Copy)]
enum Hole {
    /// 24 hexadecimal digits, the first eight of them the event's second.
    Id,
    /// An upper-case UUID of version 3.
    Uuid,
    Time,
    Organization,
    User,
    UserId,
    Ip,
    Noise(usize),
}

/// All templates, and how often each is drawn.
pub(super) struct Catalog {
    pub templates: Vec<Template>,
    lottery: Vec<u16>,
    large: u16,
    noise: Vec<u8>,
    seed: u64,
}

/// What of an event isn't in its template.
#[derive(Clone, Copy)]
pub(super) struct Particulars<'a> {
    pub identity: u32,
    pub nanos: i64,
    pub organization: &'a str,
}

impl Catalog {
    pub fn new(seed: u64, incompressible: bool) -> Catalog {
        let mut random = Random::new(seed, u64::MAX);
        let noise = if incompressible { noise(&mut random) } else { Vec::new() };
        let mut catalog = Catalog { templates: Vec::new(), lottery: Vec::new(), large: 0, noise, seed };
        let total: u32 = SERVICES.iter().map(|service| service.weight).sum();
        for service in SERVICES {
            let tickets = (TICKETS * service.weight / total) as usize;
            catalog.add_service(service, tickets, incompressible, &mut random);
        }
        catalog.large = catalog.templates.len() as u16;
        for size in body::LARGE {
            let text = body::compose_large(size, &mut random);
            catalog.templates.push(Template::new("mdm", "mdm_command_result", 9, &text, incompressible));
        }
        catalog
    }

    fn add_service(&mut self, service: &'static Service, tickets: usize, incompressible: bool, random: &mut Random) {
        let mut pools = [Vec::new(), Vec::new()];
        for event_type in service.types.split_whitespace() {
            let frequent = service.frequent.split_whitespace().any(|name| name == event_type);
            let few = service.types.split_whitespace().count() < 4;
            for variant in 0..if frequent || few { 16 } else { 2 } {
                let text = body::compose(service.name, event_type, random.next(), random);
                let digits = service.digits.unwrap_or((self.templates.len() % 10) as u32);
                let ticket = self.templates.len() as u16;
                self.templates.push(Template::new(service.name, event_type, digits, &text, incompressible));
                pools[0].push(ticket);
                if frequent || (service.frequent.is_empty() && variant == 0) {
                    pools[1].push(ticket);
                }
            }
        }
        for ticket in 0..tickets {
            let pool = &pools[usize::from(ticket % 4 != 0)];
            self.lottery.push(random.pick(pool));
        }
    }

    /// The template of the `ordinal`th event.
    pub fn draw(&self, ordinal: u32, random: &mut Random) -> u16 {
        if ordinal % LARGE_EVERY == LARGE_EVERY / 2 {
            self.large + random.below(body::LARGE.len() as u64) as u16
        } else {
            random.pick(&self.lottery)
        }
    }

    /// Writes one event.
    pub fn write(&self, template: u16, event: Particulars<'_>, time: &mut Writer, into: &mut Vec<u8>) {
        let template = &self.templates[usize::from(template)];
        let unique = mix(self.seed ^ mix(u64::from(event.identity) << 1));
        for (piece, hole) in &template.pieces {
            into.extend_from_slice(piece);
            self.fill(*hole, unique, event, time, into);
        }
        into.extend_from_slice(&template.tail);
    }

    fn fill(&self, hole: Hole, unique: u64, event: Particulars<'_>, time: &mut Writer, into: &mut Vec<u8>) {
        let user = (unique >> 7) as usize;
        match hole {
            Hole::Id => into.extend_from_slice(&object_id(event.nanos, unique)),
            Hole::Uuid => into.extend_from_slice(&uuid(unique)),
            Hole::Time => time.write(event.nanos, into),
            Hole::Organization => into.extend_from_slice(event.organization.as_bytes()),
            Hole::User => into.extend_from_slice(USERS[user % USERS.len()].as_bytes()),
            Hole::UserId => into.extend_from_slice(&object_id(0x5f00_0000 * 1_000_000_000, (user % 500) as u64)),
            Hole::Ip => into.extend_from_slice((unique >> 20 & 0x7f).to_string().as_bytes()),
            Hole::Noise(length) => {
                let from = (mix(unique) % (NOISE - length) as u64) as usize;
                into.extend_from_slice(&self.noise[from..from + length]);
            }
        }
    }

    /// The `id` of an event of this template.
    pub fn id(&self, template: u16, identity: u32, nanos: i64) -> String {
        let unique = mix(self.seed ^ mix(u64::from(identity) << 1));
        let radius = self.templates[usize::from(template)].service == "radius";
        let id = if radius { uuid(unique).to_vec() } else { object_id(nanos, unique).to_vec() };
        String::from_utf8(id).unwrap_or_default()
    }
}

impl Template {
    fn new(service: &'static str, event_type: &'static str, digits: u32, text: &str, incompressible: bool) -> Template {
        let precision = 10i64.pow(9 - digits);
        let size = text.len() + 60;
        let envelope;
        let text = if incompressible {
            envelope = noisy(service, event_type, text.len());
            &envelope
        } else {
            text
        };
        let mut template = Template { service, event_type, precision, pieces: Vec::new(), tail: Box::default(), size };
        let mut rest = text;
        while let Some((piece, after)) = rest.split_once('‹') {
            let (mark, after) = after.split_once('›').unwrap_or((after, ""));
            template.pieces.push((piece.as_bytes().into(), Hole::named(mark)));
            rest = after;
        }
        template.tail = rest.as_bytes().into();
        template
    }
}

impl Hole {
    fn named(mark: &str) -> Hole {
        match mark {
            "id" => Hole::Id,
            "uuid" => Hole::Uuid,
            "time" => Hole::Time,
            "organization" => Hole::Organization,
            "user" => Hole::User,
            "uid" => Hole::UserId,
            "ip" => Hole::Ip,
            length => Hole::Noise(length.parse().unwrap_or(0)),
        }
    }
}

/// An event as large as one of `size` bytes of template, most of it noise.
fn noisy(service: &str, event_type: &str, size: usize) -> String {
    let id = if service == "radius" { "‹uuid›" } else { "‹id›" };
    let head = format!(
        r#"{{"id":"{id}","event_type":"{event_type}","service":"{service}","timestamp":"‹time›","organization":"‹organization›","@version":"1","initiated_by":{{"id":"‹uid›","type":"user","username":"‹user›"}},"detail":""#
    );
    format!("{head}‹{}›\"}}", size.saturating_sub(head.len()).max(64))
}

/// Printable ASCII that JSON carries unescaped, and that Go's encoder leaves alone.
fn noise(random: &mut Random) -> Vec<u8> {
    let alphabet: Vec<u8> = (b' '..=b'~').filter(|byte| !b"\"\\<>&".contains(byte)).collect();
    (0..NOISE / 8)
        .flat_map(|_| random.next().to_le_bytes())
        .map(|byte| alphabet[usize::from(byte) * alphabet.len() / 256])
        .collect()
}

fn object_id(nanos: i64, unique: u64) -> [u8; 24] {
    let mut text = [0; 24];
    write_hex(nanos.div_euclid(1_000_000_000) as u32 as u64, b"0123456789abcdef", &mut text[..8]);
    write_hex(unique, b"0123456789abcdef", &mut text[8..]);
    text
}

fn uuid(unique: u64) -> [u8; 36] {
    let digits = b"0123456789ABCDEF";
    let more = mix(unique);
    let mut text = [b'-'; 36];
    write_hex(unique >> 32, digits, &mut text[..8]);
    write_hex(unique & 0xffff, digits, &mut text[9..13]);
    write_hex(0x3000 | unique >> 16 & 0xfff, digits, &mut text[14..18]);
    write_hex(0x8000 | more >> 48 & 0x3fff, digits, &mut text[19..23]);
    write_hex(more & 0xffff_ffff_ffff, digits, &mut text[24..]);
    text
}

fn write_hex(mut value: u64, digits: &[u8; 16], into: &mut [u8]) {
    for place in into.iter_mut().rev() {
        *place = digits[(value & 0xf) as usize];
        value >>= 4;
    }
}
