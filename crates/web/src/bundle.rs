//! The files of `dist/`, with what is worked out about each of them once: entity tag and compressed form.

use axum::body::Bytes;
use axum::http::HeaderValue;
use flate2::{Compression, write::GzEncoder};
use std::io::Write;
use std::sync::LazyLock;

/// Names do not change with the content, so a browser asks each time, and mostly gets an empty 304.
const REVALIDATE: &str = "no-cache";
/// Fonts change with the font package at most; a week saves the requests on every page.
const A_WEEK: &str = "public, max-age=604800";

const PAGE: &str = "/";
const CHECK: &str = "/check";
const TERMIN: &str = "/termin";
const AMT: &str = "/amt";

/// One embedded file.
pub(crate) struct Asset {
    pub(crate) path: &'static str,
    pub(crate) content: &'static [u8],
    pub(crate) content_type: &'static str,
    pub(crate) cache_control: &'static str,
    pub(crate) etag: HeaderValue,
    /// The gzip form, for files it makes smaller.
    pub(crate) compressed: Option<Bytes>,
}

impl Asset {
    pub(crate) fn is_page(&self) -> bool {
        [PAGE, CHECK, TERMIN, AMT].contains(&self.path)
    }

    fn new((path, content_type, content): Source) -> Self {
        let font = content_type == "font/woff2";
        Self {
            path,
            content,
            content_type,
            cache_control: if font { A_WEEK } else { REVALIDATE },
            etag: etag(content),
            compressed: if font { None } else { gzip(content) },
        }
    }
}

type Source = (&'static str, &'static str, &'static [u8]);

macro_rules! embed {
    ($($name:literal: $content_type:literal,)*) => {
        &[$((concat!("/assets/", $name), $content_type, include_bytes!(concat!("../dist/assets/", $name)) as &[u8]),)*]
    };
}

const ASSETS: &[Source] = embed! {
    "NOTICE.txt": "text/plain; charset=utf-8",
    "app.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "check.js": "text/javascript; charset=utf-8",
    "desk.css": "text/css; charset=utf-8",
    "desk.js": "text/javascript; charset=utf-8",
    "e2ee-worker.js": "text/javascript; charset=utf-8",
    "fonts/LICENSE": "text/plain; charset=utf-8",
    "fonts/fira-sans-latin-400.woff2": "font/woff2",
    "fonts/fira-sans-latin-500.woff2": "font/woff2",
    "fonts/fira-sans-latin-600.woff2": "font/woff2",
    "fonts/fira-sans-latin-ext-400.woff2": "font/woff2",
    "fonts/fira-sans-latin-ext-500.woff2": "font/woff2",
    "fonts/fira-sans-latin-ext-600.woff2": "font/woff2",
    "icon.svg": "image/svg+xml",
    "kern.LICENSE.md": "text/markdown; charset=utf-8",
    "kern.css": "text/css; charset=utf-8",
    "texts/de-leicht.json": "application/json",
    "texts/de.json": "application/json",
    "texts/en.json": "application/json",
};

static LOADED: LazyLock<Vec<Asset>> =
    LazyLock::new(|| ASSETS.iter().copied().map(Asset::new).collect());
static LOADED_PAGE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new((
        PAGE,
        "text/html; charset=utf-8",
        include_bytes!("../dist/index.html"),
    ))
});

static LOADED_CHECK: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new((
        CHECK,
        "text/html; charset=utf-8",
        include_bytes!("../dist/check.html"),
    ))
});

static LOADED_TERMIN: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new((
        TERMIN,
        "text/html; charset=utf-8",
        include_bytes!("../dist/termin.html"),
    ))
});

static LOADED_AMT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new((
        AMT,
        "text/html; charset=utf-8",
        include_bytes!("../dist/amt.html"),
    ))
});

/// The citizen's page.
pub(crate) fn termin_page() -> &'static Asset {
    &LOADED_TERMIN
}

/// The official's page.
pub(crate) fn amt_page() -> &'static Asset {
    &LOADED_AMT
}

/// The files a page loads.
pub(crate) fn assets() -> &'static [Asset] {
    &LOADED
}

/// The page itself.
pub(crate) fn page() -> &'static Asset {
    &LOADED_PAGE
}

/// The page that checks the connection.
pub(crate) fn check_page() -> &'static Asset {
    &LOADED_CHECK
}

/// FNV-1a: an entity tag has to differ between builds, not to resist forgery. Weak, because it stands for the plain and
/// the compressed form alike.
fn etag(content: &[u8]) -> HeaderValue {
    let hash = content
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    HeaderValue::from_str(&format!("W/\"{:x}-{hash:016x}\"", content.len()))
        .expect("hexadecimal digits are header text")
}

fn gzip(content: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).ok()?;
    let compressed = encoder.finish().ok()?;
    (compressed.len() < content.len()).then(|| Bytes::from(compressed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn files(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).expect("dist is committed") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                files(&path, found);
            } else {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }

    #[test]
    fn every_built_file_is_embedded() {
        let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist");
        let mut built = Vec::new();
        files(&dist.join("assets"), &mut built);
        let mut built: Vec<_> = built
            .iter()
            .filter_map(|path| path.split("/dist").nth(1))
            .collect();
        let mut embedded: Vec<_> = assets().iter().map(|asset| asset.path).collect();
        built.sort_unstable();
        embedded.sort_unstable();
        assert_eq!(built, embedded);
    }

    #[test]
    fn page_names_only_embedded_files() {
        for page in [page(), check_page(), termin_page(), amt_page()] {
            let html = std::str::from_utf8(page.content).expect("the page is UTF-8");
            for reference in html.split(['"']).filter(|part| part.starts_with("assets/")) {
                assert!(
                    assets().iter().any(|asset| asset.path[1..] == *reference),
                    "{reference} is not embedded"
                );
            }
            assert!(!html.contains("//"), "the page loads from nowhere else");
        }
    }
}
