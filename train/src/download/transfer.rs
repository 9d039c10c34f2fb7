//! One file over HTTP, resumed where an earlier attempt stopped.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rewind::error::Error;
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::progress::Display;

/// The longest wait for a name or a connection: a machine without a network should hear so in seconds.
const REACH: Duration = Duration::from_secs(5);

/// Why an attempt ended without the whole file.
pub(super) enum Failure {
    /// The server or the network; a clause, to be followed by what was kept and what to do.
    Remote(String),
    /// This machine: retrying is of no use.
    Local(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Local(error)
    }
}

/// A client that gives up on a silent server after `patience`, and trusts whom this machine does.
///
/// # Errors
/// If SSL_CERT_FILE or SSL_CERT_DIR name what holds no certificate.
pub(super) fn client(url: &str, patience: Duration) -> rewind::Result<Agent> {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_resolve(Some(REACH.min(patience)))
        .timeout_connect(Some(REACH.min(patience)))
        .timeout_send_request(Some(patience))
        .timeout_recv_response(Some(patience))
        .timeout_per_read(Some(patience));
    if url.starts_with("https://") {
        config = config.tls_config(TlsConfig::builder().root_certs(trusted()?).build());
    } else {
        // A proxy named in the environment leads to the world outside; plain http is a mirror on this network.
        config = config.proxy(None);
    }
    Ok(config.build().into())
}

/// The certificates of SSL_CERT_FILE and SSL_CERT_DIR, or else those that the system keeps; where it keeps none, Mozilla's, which are built in.
fn trusted() -> rewind::Result<RootCerts> {
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().find_map(|name| Some((name, std::env::var_os(name)?)));
    let held = rustls_native_certs::load_native_certs();
    match (named, held.certs.is_empty()) {
        (_, false) => {
            let certificates = held.certs.iter().map(|der| Certificate::from_der(der).to_owned());
            Ok(RootCerts::Specific(Arc::new(certificates.collect())))
        }
        (None, true) => Ok(RootCerts::WebPki),
        (Some((name, path)), true) => Err(Error::Usage(format!(
            "{name} is {}, where no certificate can be read: name a file or folder in PEM, or unset it",
            path.display()
        ))),
    }
}

/// Makes `part` the whole file, from whatever it holds already. Returns whether bytes of an earlier attempt were kept.
pub(super) fn fetch(client: &Agent, url: &str, part: &Path, display: &mut Display) -> Result<bool, Failure> {
    let have = part.metadata().map_or(0, |m| m.len());
    let mut response = request(client, url, have)?;
    if response.status() == StatusCode::RANGE_NOT_SATISFIABLE && have > 0 {
        // Nothing is left to send: the part is complete, or longer than the file and thus of no use.
        if content_range(&response).is_some_and(|range| range.total == Some(have)) {
            return Ok(true);
        }
        response = request(client, url, 0)?;
    }
    let (start, total) = match response.status() {
        StatusCode::OK => (0, content_length(&response)),
        StatusCode::PARTIAL_CONTENT => match content_range(&response) {
            Some(Range { start: Some(start), total }) if start == have => (have, total),
            _ => return Err(Failure::Remote("the server sent another part of the file than asked for".into())),
        },
        status => {
            let reason = status.canonical_reason().map_or(String::new(), |reason| format!(" ({reason})"));
            return Err(Failure::Remote(format!("the server answered {}{reason}", status.as_str())));
        }
    };
    let mut file = open(part, start)?;
    display.begin(start, total);
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 16];
    let mut at = start;
    loop {
        let cut = |why: String| match total {
            Some(total) => Failure::Remote(format!("{why} after {at} of {total} bytes")),
            None => Failure::Remote(format!("{why} after {at} bytes")),
        };
        let n = body.read(&mut buffer).map_err(|e| cut(reading(e)))?;
        if n == 0 {
            return match total {
                Some(total) if at != total => Err(cut("the connection ended".into())),
                _ => Ok(start > 0),
            };
        }
        file.write_all(&buffer[..n]).map_err(Error::io("write", part))?;
        at += n as u64;
        display.advance(at);
    }
}

fn request(client: &Agent, url: &str, have: u64) -> Result<Response<Body>, Failure> {
    // A compressed transfer of the archive would make byte ranges mean something else.
    let mut request = client.get(url).header(header::ACCEPT_ENCODING, "identity");
    if have > 0 {
        request = request.header(header::RANGE, format!("bytes={have}-"));
    }
    request.call().map_err(|e| Failure::Remote(connecting(&e)))
}

/// The part, kept up to byte `start`.
fn open(part: &Path, start: u64) -> rewind::Result<File> {
    let mut options = OpenOptions::new();
    if start > 0 {
        options.append(true)
    } else {
        options.write(true).create(true).truncate(true)
    };
    options.open(part).map_err(Error::io("write", part))
}

fn connecting(error: &ureq::Error) -> String {
    match error {
        ureq::Error::HostNotFound => "the host's name was not found, check the network".into(),
        ureq::Error::ConnectionFailed => "no connection to the host, check the network".into(),
        ureq::Error::Timeout(_) => "no answer from the host in time, check the network".into(),
        // what TLS refuses comes as an error of the connection
        error if error.to_string().contains("UnknownIssuer") => {
            "the server's certificate is signed by nobody whom this machine trusts: if your organisation signs what its network \
             passes on, name its certificate in SSL_CERT_FILE"
                .into()
        }
        ureq::Error::Io(e) => format!("no connection to the host, check the network ({e})"),
        other => format!("the request failed ({other})"),
    }
}

/// The words for an error in the middle of the body, to be followed by "after so many bytes".
fn reading(error: std::io::Error) -> String {
    match error.get_ref().and_then(|e| e.downcast_ref()) {
        Some(ureq::Error::Timeout(_)) => "the server fell silent".into(),
        _ => format!("the connection broke ({error})"),
    }
}

fn content_length(response: &Response<Body>) -> Option<u64> {
    response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// `bytes START-END/TOTAL` or `bytes */TOTAL`; `*` for a total that the server does not know.
struct Range {
    start: Option<u64>,
    total: Option<u64>,
}

fn content_range(response: &Response<Body>) -> Option<Range> {
    let value = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = value.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let start = range.split_once('-').and_then(|(start, _)| start.trim().parse().ok());
    Some(Range { start, total: total.trim().parse().ok() })
}
