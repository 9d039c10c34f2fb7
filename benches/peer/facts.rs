//! Which machine and which programs the figures belong to.

use std::process::Command;

/// Names and values, in the order of the file.
pub fn facts(threads: usize, torch: &str) -> Vec<(&'static str, String)> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |key: &str| {
        let line = cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|name| name.trim() == key))?;
        Some(line.split_once(':')?.1.trim().to_string())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    vec![
        ("cpu", field("model name").unwrap_or_else(unknown)),
        ("cpu_family", field("cpu family").unwrap_or_else(unknown)),
        ("vector_instructions", field("flags").map_or_else(unknown, |flags| vectors(&flags))),
        ("cores", cores.to_string()),
        ("threads", threads.to_string()),
        ("rewind", env!("CARGO_PKG_VERSION").to_string()),
        ("commit", answer("git", &["describe", "--always", "--dirty"]).unwrap_or_else(unknown)),
        ("torch", torch.to_string()),
        ("date", answer("date", &["-u", "+%Y-%m-%d %H:%M UTC"]).unwrap_or_else(unknown)),
    ]
}

fn unknown() -> String {
    "unknown".into()
}

/// Those of the processor's flags that decide which kernels run.
fn vectors(flags: &str) -> String {
    let named = ["sse4_2", "avx", "avx2", "fma", "avx512f", "avx512vl", "avx512_bf16", "amx_tile"];
    let has = named.into_iter().filter(|name| flags.split_whitespace().any(|flag| flag == *name));
    has.collect::<Vec<_>>().join(" ")
}

/// The one line that a program prints.
fn answer(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_string();
    (output.status.success() && !text.is_empty()).then_some(text)
}
