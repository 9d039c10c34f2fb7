//! The download against a server on this machine: no test asks a real host for anything.
#![cfg(feature = "download")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use flate2::{Compression, write::GzEncoder};
use md5::{Digest, Md5};
use rewind::Error;
use rewind_train::download::{Archive, Progress, Which, fetch, fetch_archive};
use tempfile::TempDir;

/// What the server does with its next connection; the last answer is repeated.
#[derive(Clone, Copy)]
enum Answer {
    /// The file, or the range asked for.
    Serve,
    /// As `Serve`, but at most so many bytes of the body and then the end of the connection.
    CutAfter(usize),
    /// The whole file whatever was asked for.
    IgnoreRange,
    /// Half of what was asked for and then silence.
    Stall,
    /// A range that nobody asked for.
    WrongRange,
    NotFound,
}

struct Server {
    base: String,
    /// The `Range` header of each request.
    ranges: Arc<Mutex<Vec<Option<String>>>>,
}

impl Server {
    fn start(file: Vec<u8>, answers: &'static [Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/", listener.local_addr().unwrap());
        let ranges = Arc::new(Mutex::new(Vec::new()));
        let log = ranges.clone();
        let file = Arc::new(file);
        // The threads end with the test's process.
        thread::spawn(move || {
            for (i, stream) in listener.incoming().enumerate() {
                let answer = answers[i.min(answers.len() - 1)];
                let (file, log) = (file.clone(), log.clone());
                // A client that hangs up early is part of some tests, so what comes of an answer is not looked at.
                thread::spawn(move || Self::serve(stream.unwrap(), &file, answer, &log));
            }
        });
        Self { base, ranges }
    }

    fn serve(
        mut stream: TcpStream,
        file: &[u8],
        answer: Answer,
        log: &Mutex<Vec<Option<String>>>,
    ) -> std::io::Result<()> {
        let mut range = None;
        for line in BufReader::new(stream.try_clone()?).lines() {
            let line = line?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("range")
            {
                range = Some(value.trim().to_string());
            }
        }
        log.lock().unwrap().push(range.clone());
        let start = range.map(|r| r.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap());
        let total = file.len();
        let close = "Connection: close\r\n\r\n";
        let (head, body) = match (answer, start) {
            (Answer::NotFound, _) => ("404 Not Found\r\nContent-Length: 5\r\n".to_string(), &b"sorry"[..]),
            (Answer::WrongRange, Some(_)) => (
                format!("206 Partial Content\r\nContent-Length: 1\r\nContent-Range: bytes 0-0/{total}\r\n"),
                &file[..1],
            ),
            (Answer::IgnoreRange, _) | (_, None) => (format!("200 OK\r\nContent-Length: {total}\r\n"), file),
            (_, Some(start)) if start >= total => (
                format!("416 Range Not Satisfiable\r\nContent-Length: 0\r\nContent-Range: bytes */{total}\r\n"),
                &[][..],
            ),
            (_, Some(start)) => (
                format!(
                    "206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{}/{total}\r\n",
                    total - start,
                    total - 1
                ),
                &file[start..],
            ),
        };
        write!(stream, "HTTP/1.1 {head}{close}")?;
        match answer {
            Answer::CutAfter(bytes) => stream.write_all(&body[..bytes.min(body.len())]),
            Answer::Stall => {
                stream.write_all(&body[..body.len() / 2])?;
                thread::sleep(Duration::from_secs(20));
                Ok(())
            }
            _ => stream.write_all(body),
        }
    }

    fn requests(&self) -> usize {
        self.ranges.lock().unwrap().len()
    }

    fn range(&self, request: usize) -> Option<String> {
        self.ranges.lock().unwrap()[request].clone()
    }
}

const FOLDER: &str = "pictures-bin";

/// A small archive of the right make: two files in a folder, and one that tries to land outside.
fn tarball() -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    // Noise, so that the archive keeps some length.
    let mut state = 1u32;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    let noise: Vec<u8> = (0..60_000).map(|_| noise()).collect();
    for (name, bytes) in [("pictures-bin/a.bin", &noise[..]), ("pictures-bin/b.bin", b"hello"), ("xx/evil.txt", b"boo")]
    {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_path(name).unwrap();
        if name.starts_with("xx") {
            // The builder refuses such a path, so it is written over a harmless one.
            header.as_gnu_mut().unwrap().name[..2].copy_from_slice(b"..");
        }
        header.set_cksum();
        tar.append(&header, bytes).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn archive(base: &str, file: &[u8]) -> Archive {
    Archive {
        url: format!("{base}pictures.tar.gz"),
        md5: Md5::digest(file).iter().map(|byte| format!("{byte:02x}")).collect(),
        folder: FOLDER.into(),
        files: vec![("a.bin".into(), 60_000), ("b.bin".into(), 5)],
        patience: Duration::from_secs(5),
    }
}

/// A server with the archive, what to ask of it, and an empty place for the answer.
fn scene(answers: &'static [Answer]) -> (Server, Archive, TempDir) {
    let file = tarball();
    assert!(file.len() > 10_000, "{}", file.len());
    let server = Server::start(file.clone(), answers);
    let archive = archive(&server.base, &file);
    (server, archive, TempDir::new().unwrap())
}

fn get(archive: &Archive, dir: &TempDir) -> rewind::Result<std::path::PathBuf> {
    // A folder within the temporary one: what a bad archive writes outside of `into` is seen, and cleaned up.
    fetch_archive(archive, &into(dir), Progress::Quiet)
}

fn into(dir: &TempDir) -> std::path::PathBuf {
    dir.path().join("datasets")
}

fn part(dir: &TempDir) -> std::path::PathBuf {
    into(dir).join("pictures.tar.gz.part")
}

fn leave_part(dir: &TempDir, bytes: &[u8]) {
    fs::create_dir_all(into(dir)).unwrap();
    fs::write(part(dir), bytes).unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn assert_unpacked(archive: &Archive, dir: &TempDir) {
    let folder = get(archive, dir).unwrap();
    assert_eq!(folder, into(dir).join(FOLDER));
    assert_eq!(names(&folder), ["a.bin", "b.bin"]);
    assert_eq!(fs::read(folder.join("b.bin")).unwrap(), b"hello");
    assert_eq!(names(&into(dir)), [FOLDER], "nothing else is left");
    assert_eq!(names(dir.path()), ["datasets"], "nothing lands outside");
}

fn refusal(archive: &Archive, dir: &TempDir, parts: &[&str]) {
    let error = get(archive, dir).expect_err("this download cannot succeed");
    assert!(matches!(error, Error::Download { .. }), "{error:?}");
    let text = error.to_string();
    println!("{text}");
    for part in parts.iter().chain(&[&*archive.url]) {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
    assert!(!text.contains('\n'), "{text}");
    assert!(!into(dir).join(FOLDER).exists());
}

#[test]
fn a_download_is_unpacked_once() {
    let (server, archive, dir) = scene(&[Answer::Serve]);
    assert_unpacked(&archive, &dir);
    assert_eq!((server.requests(), server.range(0)), (1, None));
    get(&archive, &dir).unwrap();
    assert_eq!(server.requests(), 1, "a complete folder asks for nothing");
    for progress in [Progress::Bar, Progress::Lines] {
        let dir = TempDir::new().unwrap();
        assert!(fetch_archive(&archive, dir.path(), progress).unwrap().join("b.bin").exists());
    }
}

#[test]
fn a_damaged_folder_is_completed_and_keeps_other_files() {
    let (_server, archive, dir) = scene(&[Answer::Serve]);
    let folder = get(&archive, &dir).unwrap();
    fs::write(folder.join("a.bin"), "short").unwrap();
    fs::write(folder.join("mine.txt"), "keep").unwrap();
    get(&archive, &dir).unwrap();
    assert_eq!(fs::metadata(folder.join("a.bin")).unwrap().len(), 60_000);
    assert_eq!(names(&folder), ["a.bin", "b.bin", "mine.txt"]);
}

#[test]
fn a_cut_connection_is_resumed_within_the_call() {
    let (server, archive, dir) = scene(&[Answer::CutAfter(4_000), Answer::CutAfter(2_000), Answer::Serve]);
    assert_unpacked(&archive, &dir);
    assert_eq!(server.requests(), 3);
    assert_eq!(server.range(1).unwrap(), "bytes=4000-");
    assert_eq!(server.range(2).unwrap(), "bytes=6000-");
}

#[test]
fn bytes_of_an_earlier_call_are_resumed() {
    let (server, archive, dir) = scene(&[Answer::CutAfter(4_000), Answer::NotFound, Answer::Serve]);
    refusal(&archive, &dir, &["404 (Not Found)", "4000 bytes that came are kept", "by hand"]);
    assert_eq!(fs::metadata(part(&dir)).unwrap().len(), 4_000);
    assert_unpacked(&archive, &dir);
    assert_eq!(server.range(2).unwrap(), "bytes=4000-");
}

#[test]
fn a_server_without_ranges_starts_anew() {
    let (server, archive, dir) = scene(&[Answer::IgnoreRange]);
    leave_part(&dir, &[7; 3_000]);
    assert_unpacked(&archive, &dir);
    assert_eq!((server.requests(), server.range(0).unwrap()), (1, "bytes=3000-".to_string()));
}

#[test]
fn a_complete_part_needs_no_transfer() {
    let (server, archive, dir) = scene(&[Answer::Serve]);
    leave_part(&dir, &tarball());
    assert_unpacked(&archive, &dir);
    assert_eq!(server.requests(), 1);
}

#[test]
fn a_part_that_is_too_long_starts_anew() {
    let (server, archive, dir) = scene(&[Answer::Serve]);
    leave_part(&dir, &[tarball(), vec![0; 10]].concat());
    assert_unpacked(&archive, &dir);
    assert_eq!((server.requests(), server.range(1)), (2, None));
}

#[test]
fn a_part_of_another_version_starts_anew() {
    for length in [5_000, tarball().len()] {
        let (server, archive, dir) = scene(&[Answer::Serve]);
        leave_part(&dir, &vec![9; length]);
        assert_unpacked(&archive, &dir);
        assert_eq!((server.requests(), server.range(1)), (2, None));
    }
}

#[test]
fn a_wrong_checksum_is_named_and_deleted() {
    let (_server, mut archive, dir) = scene(&[Answer::Serve]);
    let real = std::mem::replace(&mut archive.md5, "0".repeat(32));
    refusal(&archive, &dir, &["MD5", &real, &archive.md5, "deleted"]);
    assert_eq!(names(dir.path()), [""; 0], "the folder made for it is gone too");
}

#[test]
fn an_archive_got_by_hand_is_used_and_kept() {
    let (server, archive, dir) = scene(&[Answer::NotFound]);
    let whole = into(&dir).join("pictures.tar.gz");
    fs::create_dir_all(into(&dir)).unwrap();
    fs::write(&whole, "not the archive").unwrap();
    refusal(&archive, &dir, &["lies there already", "delete it"]);
    fs::write(&whole, tarball()).unwrap();
    get(&archive, &dir).unwrap();
    assert_eq!(server.requests(), 0);
    assert_eq!(names(&into(&dir)), [FOLDER, "pictures.tar.gz"]);
}

#[test]
fn an_archive_without_the_files_is_refused() {
    let (_server, mut archive, dir) = scene(&[Answer::Serve]);
    archive.files.push(("c.bin".into(), 1));
    refusal(&archive, &dir, &["does not hold the files"]);
    assert!(!into(&dir).join("pictures-bin.unpacking").exists());
}

#[test]
fn a_missing_file_and_a_wrong_range_are_said() {
    let (_server, archive, dir) = scene(&[Answer::NotFound]);
    refusal(&archive, &dir, &["404 (Not Found)", "by hand"]);
    let (_server, archive, dir) = scene(&[Answer::WrongRange]);
    leave_part(&dir, &tarball()[..100]);
    refusal(&archive, &dir, &["another part", "100 bytes that came are kept"]);
}

#[test]
fn a_silent_server_is_given_up() {
    let (server, mut archive, dir) = scene(&[Answer::Stall]);
    archive.patience = Duration::from_millis(300);
    let start = Instant::now();
    refusal(&archive, &dir, &["fell silent after", "kept for the next attempt"]);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    // Each attempt gained half of the rest, and the last one was the fifth.
    assert_eq!(server.requests(), 5);
    assert!(fs::metadata(part(&dir)).unwrap().len() > tarball().len() as u64 * 9 / 10);
}

#[test]
fn no_network_is_said_in_seconds() {
    let start = Instant::now();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for base in [format!("http://{closed}/"), "http://cifar.invalid/".into()] {
        let dir = TempDir::new().unwrap();
        refusal(&archive(&base, b""), &dir, &["check the network", "by hand", &into(&dir).display().to_string()]);
        let error = fetch(Which::Cifar10, Some(&base), dir.path(), Progress::Quiet).unwrap_err().to_string();
        assert!(error.contains("cifar-10-binary.tar.gz"), "{error}");
    }
    assert!(start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
}

#[test]
fn the_published_archives_are_asked_for() {
    let ten = Archive::cifar(Which::Cifar10, None);
    assert_eq!(ten.url, "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz");
    assert_eq!((ten.md5.as_str(), ten.folder.as_str()), ("c32a1d4ab5d03f1284b67883e8d87530", "cifar-10-batches-bin"));
    assert_eq!(ten.files.iter().map(|f| f.1).sum::<u64>(), 6 * 30_730_000);
    let hundred = Archive::cifar(Which::Cifar100, Some("http://127.0.0.1:1/"));
    assert_eq!(hundred.url, "http://127.0.0.1:1/cifar-100-binary.tar.gz");
    assert_eq!(
        (hundred.md5.as_str(), hundred.folder.as_str()),
        ("03b5dce01913d631647c71ecec9e9cb8", "cifar-100-binary")
    );
    assert_eq!(hundred.files, [("train.bin".into(), 153_700_000), ("test.bin".into(), 30_740_000)]);
}

/// Answers every request for the file over TLS, with a certificate for 127.0.0.1 that a certificate authority of this name signed; gives the
/// address and that authority in PEM.
fn secure_server(name: &str, file: Vec<u8>) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::default();
    authority.distinguished_name.push(rcgen::DnType::CommonName, name);
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_pem = authority.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, key);
    let server_key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_string()]).unwrap();
    let certificate = certificate.signed_by(&server_key, &issuer).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], server_key.serialize_der().try_into().unwrap())
        .unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
    let base = format!("https://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = BufReader::new(rustls::StreamOwned::new(connection, stream.unwrap()));
            // a client that trusts nobody hangs up
            let asked = stream.by_ref().lines().map_while(Result::ok).find(String::is_empty);
            if asked.is_some() {
                let stream = stream.get_mut();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", file.len());
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&file));
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    (base, authority_pem)
}

/// The environment is a whole process's: the test runs itself once more for each of its cases.
#[test]
fn whom_ssl_cert_file_names_is_trusted() {
    const BASE: &str = "REWIND_TEST_SERVER";
    if let Ok(base) = std::env::var(BASE) {
        let dir = TempDir::new().unwrap();
        match get(&archive(&base, &tarball()), &dir) {
            Ok(folder) => println!("unpacked {}", names(&folder).join(" ")),
            Err(error) => println!("refused: {error}"),
        }
        return;
    }
    let (base, authority) = secure_server("an organisation", tarball());
    let (_, another) = secure_server("another organisation", Vec::new());
    let dir = TempDir::new().unwrap();
    let fetched = |certificates: &str| {
        let file = dir.path().join("certificates.pem");
        fs::write(&file, certificates).unwrap();
        let test = ["--exact", "whom_ssl_cert_file_names_is_trusted", "--nocapture"];
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let ended =
            command.args(test).env(BASE, &base).env("SSL_CERT_FILE", file).env_remove("SSL_CERT_DIR").output().unwrap();
        String::from_utf8(ended.stdout).unwrap()
    };
    let said = fetched(&authority);
    assert!(said.contains("unpacked a.bin b.bin"), "{said}");
    let said = fetched(&another);
    assert!(said.contains("signed by nobody whom this machine trusts") && said.contains("SSL_CERT_FILE"), "{said}");
    let said = fetched("no certificate");
    assert!(said.contains("certificates.pem, where no certificate can be read"), "{said}");
}
