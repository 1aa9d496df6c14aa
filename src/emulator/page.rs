//! Finished pages, kept so that asking again costs no copying.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::dataset::Dataset;
use super::filter;
use super::record::Record;
use super::time::Writer;

/// Smaller pages are quickly made again, and live polls would only drive the large ones out.
const WORTH_KEEPING: usize = 1_000;

/// A body, and the same compressed once somebody asked for it.
pub(super) struct Page {
    pub body: Bytes,
    gzip: OnceLock<Bytes>,
}

impl Page {
    pub fn new(body: impl Into<Bytes>) -> Page {
        Page { body: body.into(), gzip: OnceLock::new() }
    }

    pub fn gzip(&self) -> Bytes {
        let compress = || {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            // Writing to memory can't fail.
            let written = encoder.write_all(&self.body).and_then(|()| encoder.finish());
            written.map(Bytes::from).unwrap_or_default()
        };
        self.gzip.get_or_init(compress).clone()
    }
}

/// The JSON array of some records.
pub(super) fn render(dataset: &Dataset, organization: usize, records: &[Record], fields: Option<&[String]>) -> Vec<u8> {
    let size: usize = records.iter().map(|record| dataset.size(record) + 1).sum();
    let mut body = Vec::with_capacity(size + 2);
    let mut time = Writer::default();
    body.push(b'[');
    for (place, record) in records.iter().enumerate() {
        if place > 0 {
            body.push(b',');
        }
        let from = body.len();
        dataset.write(organization, record, &mut time, &mut body);
        if let Some(fields) = fields {
            let projected = filter::project(&body[from..], fields);
            body.truncate(from);
            body.extend_from_slice(&projected);
        }
    }
    body.push(b']');
    body
}

/// The pages sent last, by what they hold: no change of the data set or of the clock can make one stale.
pub(super) struct Cache {
    limit: usize,
    pages: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    by_content: HashMap<u64, (Arc<Page>, u64)>,
    uses: u64,
}

impl Cache {
    pub fn new(limit: usize) -> Cache {
        Cache { limit, pages: Mutex::default() }
    }

    /// The page of these records, and whether it was there already.
    pub fn page(&self, dataset: &Dataset, organization: usize, records: &[Record]) -> (Arc<Page>, bool) {
        if self.limit == 0 || records.len() < WORTH_KEEPING {
            return (Arc::new(Page::new(render(dataset, organization, records, None))), false);
        }
        let content = fingerprint(organization, records);
        if let Some(page) = self.kept().touch(content) {
            return (page, true);
        }
        let page = Arc::new(Page::new(render(dataset, organization, records, None)));
        self.kept().keep(content, page.clone(), self.limit);
        (page, false)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.pages.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Kept {
    fn touch(&mut self, content: u64) -> Option<Arc<Page>> {
        self.uses += 1;
        let (page, used) = self.by_content.get_mut(&content)?;
        *used = self.uses;
        Some(page.clone())
    }

    fn keep(&mut self, content: u64, page: Arc<Page>, limit: usize) {
        if self.by_content.len() >= limit {
            let oldest = self.by_content.iter().min_by_key(|(_, (_, used))| *used).map(|(content, _)| *content);
            oldest.and_then(|oldest| self.by_content.remove(&oldest));
        }
        self.by_content.insert(content, (page, self.uses));
    }
}

/// Every stored record has its own opaque id, so their sequence names a page.
fn fingerprint(organization: usize, records: &[Record]) -> u64 {
    records.iter().fold(organization as u64 ^ records.len() as u64, |sum, record| {
        (sum ^ record.opaque).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    })
}
