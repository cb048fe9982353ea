//! Style sheet, scripts and icon. Their addresses contain a digest of the content, so that browsers keep them for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

/// A file that is compiled in.
#[derive(Clone, Copy, Debug)]
struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static [u8],
}

const ASSETS: [Asset; 5] = [
    Asset { name: "console.css", kind: "text/css; charset=utf-8", content: include_bytes!("../assets/console.css") },
    Asset {
        name: "console.js",
        kind: "text/javascript; charset=utf-8",
        content: include_bytes!("../assets/console.js"),
    },
    Asset { name: "htmx.js", kind: "text/javascript; charset=utf-8", content: include_bytes!("../assets/htmx.min.js") },
    Asset {
        name: "idiomorph.js",
        kind: "text/javascript; charset=utf-8",
        content: include_bytes!("../assets/idiomorph-ext.min.js"),
    },
    Asset { name: "icon.svg", kind: "image/svg+xml", content: include_bytes!("../assets/icon.svg") },
];

/// The addresses of the assets.
#[derive(Debug)]
pub struct Addresses {
    /// The style sheet.
    pub css: String,
    /// Our script.
    pub js: String,
    /// htmx.
    pub htmx: String,
    /// The extension of htmx that changes only those parts of a page that differ.
    pub idiomorph: String,
    /// The icon.
    pub icon: String,
}

/// The addresses of the assets of this build.
pub static ADDRESSES: LazyLock<Addresses> = LazyLock::new(|| {
    let [css, js, htmx, idiomorph, icon] = ASSETS.map(|asset| {
        let digest = hex::encode(Sha256::digest(asset.content).get(..6).unwrap_or_default());
        format!("/assets/{digest}/{}", asset.name)
    });
    Addresses { css, js, htmx, idiomorph, icon }
});

/// Returns an asset. The digest is for browsers; every build knows one version.
pub async fn get(Path((_, name)): Path<(String, String)>) -> Response {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => {
            let headers =
                [(header::CONTENT_TYPE, asset.kind), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
            (headers, asset.content).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
