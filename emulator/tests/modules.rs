//! Every test kernel as nvcc compiled it, for both targets: what the front end must find in it.

mod support;

use rewind_emulator::ptx::{FunctionKind, Module, Opcode, Operand, PtxError, Space, VariableRef};
use support::{compiled, parsed, sources};

/// Counted in the text itself, so as not to ask the parser about itself.
fn occurrences(text: &str, what: &str) -> usize {
    text.lines().filter(|line| line.trim_start().starts_with(what)).count()
}

#[test]
fn every_source_has_ptx_for_both_targets_and_none_names_a_build_path() {
    for name in sources() {
        for arch in [80, 90] {
            let text = compiled(&name, arch);
            assert!(text.contains(&format!(".target sm_{arch}")), "{name}");
            for path in ["/home", "/root", "/tmp", ".cu\"", ".loc\t", ".file"] {
                assert!(!text.contains(path), "{name}.compute_{arch}.ptx holds {path}");
            }
        }
    }
}

#[test]
fn every_module_decodes_but_the_one_that_is_refused() {
    for name in sources() {
        for arch in [80, 90] {
            let text = compiled(&name, arch);
            match (name.as_str(), Module::parse(&text)) {
                ("recursion", Err(PtxError::Recursion { kernel, callee, .. })) => {
                    assert_eq!((kernel.as_str(), callee.as_str()), ("_Z9fibonaccij", "_Z9fibonaccij"));
                }
                (_, Ok(module)) => {
                    let entries = occurrences(&text, ".visible .entry") + occurrences(&text, ".weak .entry");
                    assert_eq!(module.entries().count(), entries, "{name}");
                    assert_eq!((module.version, module.target.sm), ((9, 0), arch), "{name}");
                }
                (_, Err(e)) => panic!("{name}.compute_{arch}.ptx: {e}"),
            }
        }
    }
}

/// Sums `%x<N>` of one register type over a kernel's text; nvcc declares them once at its top.
fn declared(text: &str, kernel: &str, ty: &str) -> u32 {
    let at = text.find(&format!(".entry {kernel}(")).expect("the kernel is there");
    let body = &text[at..];
    let body = &body[..body.find("\n}\n").expect("it ends")];
    let plain = |line: &str| line.split(&['<', '>'][..]).nth(1).map_or(1, |n| n.parse::<u32>().expect("a number"));
    body.lines().filter(|l| l.trim_start().starts_with(&format!(".reg .{ty} "))).map(plain).sum()
}

#[test]
fn registers_are_counted_by_width() {
    for (source, kernel) in [
        ("vector_add", "vector_add"),
        ("conv3x3", "conv3x3"),
        ("matmul", "matmul16"),
        ("mma", "mma_bf16"),
        ("math", "double_math"),
        ("reduction", "block_sum"),
        ("memory", "struct_param"),
    ] {
        for arch in [80, 90] {
            let text = compiled(source, arch);
            let module = parsed(&text);
            let registers = module.function(kernel).unwrap().body.as_ref().unwrap().registers;
            let count = |types: &[&str]| types.iter().map(|ty| declared(&text, kernel, ty)).sum::<u32>();
            assert_eq!(registers.pred, count(&["pred"]), "{kernel}");
            assert_eq!(registers.b16, count(&["b16"]), "{kernel}");
            assert_eq!(registers.b32, count(&["b32", "f32"]), "{kernel}");
            assert_eq!(registers.b64, count(&["b64", "f64"]), "{kernel}");
        }
    }
}

#[test]
fn parameters_have_the_offsets_of_their_c_structs() {
    // (source, kernel, offsets and sizes in bytes, whole block)
    type Row = (&'static str, &'static str, &'static [(u64, u64)], u64);
    let rows: [Row; 5] = [
        ("vector_add", "vector_add", &[(0, 8), (8, 8), (16, 8), (24, 4)], 28),
        ("matmul", "matmul_dynamic", &[(0, 8), (8, 8), (16, 8), (24, 4), (28, 4), (32, 4)], 36),
        // Sizes is int, int, long long, float[3]: 28 bytes, padded to 32 by its 8-byte alignment.
        ("memory", "struct_param", &[(0, 8), (8, 32), (40, 8)], 48),
        ("memory", "_Z9scale_allIdEvPT_S0_", &[(0, 8), (8, 8)], 16),
        ("memory", "_Z9scale_allIfEvPT_S0_", &[(0, 8), (8, 4)], 12),
    ];
    for (source, kernel, expected, bytes) in rows {
        for arch in [80, 90] {
            let module = parsed(&compiled(source, arch));
            let function = module.function(kernel).expect(kernel);
            let found: Vec<_> = function.parameters.iter().map(|p| (p.offset, p.bytes)).collect();
            assert_eq!(found, expected, "{kernel}");
            assert_eq!(function.parameter_bytes(), bytes, "{kernel}");
            assert_eq!(function.kind, FunctionKind::Entry);
        }
    }
}

#[test]
fn shared_and_local_bytes_are_those_of_the_source() {
    for (source, kernel, space, bytes) in [
        ("reduction", "block_sum", Space::Shared, 32 * 4),
        ("matmul", "matmul16", Space::Shared, (16 * 16 + 16 * 17) * 4),
        ("matmul", "matmul_dynamic", Space::Shared, 0),
        ("conv3x3", "conv3x3", Space::Shared, 10 * 10 * 16 * 4),
        ("mma", "mma_tf32", Space::Shared, (16 * 8 + 8 * 8) * 4),
        ("mma", "mma_bf16", Space::Shared, (16 * 16 + 16 * 8) * 2),
        ("histogram", "histogram", Space::Shared, 256 * 4),
        ("memory", "local_array", Space::Local, 32 * 4),
        ("printf", "prints", Space::Local, 16),
    ] {
        for arch in [80, 90] {
            let module = parsed(&compiled(source, arch));
            // matmul16 comes from a template, whose arrays nvcc places outside the kernel.
            let outside = module.variables.iter().filter(|v| v.space == space && source != "matmul");
            let body = module.function(kernel).unwrap().body.as_ref().unwrap();
            let inside = body.bytes_in(space);
            let outside: u64 = outside.filter_map(|v| v.bytes).sum();
            let template = module.variables.iter().filter(|v| v.name.contains("matmul_body")).filter_map(|v| v.bytes);
            let template: u64 = if kernel == "matmul16" { template.sum() } else { 0 };
            assert_eq!(inside + outside + template, bytes, "{kernel}");
        }
    }
}

#[test]
fn launch_bounds_and_dynamic_shared_memory_are_kept() {
    let module = parsed(&compiled("vector_add", 80));
    let bounds = module.function("vector_add4").unwrap().bounds;
    assert_eq!((bounds.max_threads, bounds.min_blocks_per_sm), (Some([256, 1, 1]), Some(2)));
    let module = parsed(&compiled("matmul", 80));
    let dynamic = module.variables.iter().find(|v| v.bytes.is_none()).unwrap();
    assert_eq!((dynamic.name.as_str(), dynamic.space, dynamic.align), ("buffer", Space::Shared, 16));
}

#[test]
fn variables_keep_their_initial_values_and_addresses() {
    let module = parsed(&compiled("memory", 90));
    let variable = |name: &str| module.variables.iter().find(|v| v.name == name).unwrap();
    let coefficients: Vec<u8> = [1.0f32, -2.5, 3.25, 0.5].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(variable("coefficients").initial, coefficients);
    assert_eq!(variable("coefficients").space, Space::Const);
    assert_eq!(variable("counter").initial, 5i32.to_le_bytes());
    assert_eq!(variable("table").initial, [1, 2, 3, 250, 5]);
    assert_eq!((variable("sizes").bytes, variable("sizes").initial.len()), (Some(32), 0));
    let pointer = &variable("pointer_to_counter").relocations[0];
    assert_eq!(module.variables[pointer.variable as usize].name, "counter");
    assert_eq!((pointer.offset, pointer.addend, pointer.generic), (0, 0, true));
}

#[test]
fn printf_and_assertions_are_calls_of_functions_without_code() {
    let module = parsed(&compiled("printf", 80));
    for name in ["vprintf", "__assertfail"] {
        assert!(module.function(name).unwrap().body.is_none());
    }
    let code = &module.function("prints").unwrap().body.as_ref().unwrap().instructions;
    assert_eq!(code.iter().filter(|i| i.opcode == Opcode::Call).count(), 2);
}

/// Instructions of a module, counted without the parser: what stands between semicolons and starts like one.
fn statements(text: &str) -> usize {
    let code: String = text.lines().map(|l| l.split("//").next().unwrap_or("").to_string() + "\n").collect();
    let starts_like_one = |piece: &&str| {
        let mut rest = piece.trim_start();
        loop {
            let label = rest
                .split_once(':')
                .filter(|(l, _)| l.bytes().all(|b| b.is_ascii_alphanumeric() || b"$_".contains(&b)));
            match (rest.strip_prefix(['{', '}']), label) {
                (Some(inner), _) => rest = inner.trim_start(),
                (None, Some((_, behind))) => rest = behind.trim_start(),
                (None, None) => return rest.starts_with(|c: char| c == '@' || c.is_ascii_lowercase()),
            }
        }
    };
    code.split(';').filter(starts_like_one).count()
}

#[test]
fn no_instruction_is_lost_or_made_up() {
    for name in sources().iter().filter(|name| *name != "recursion") {
        for arch in [80, 90] {
            let text = compiled(name, arch);
            let bodies = parsed(&text).functions.into_iter().filter_map(|f| f.body);
            let found: usize = bodies.map(|b| b.instructions.len()).sum();
            assert_eq!(found, statements(&text), "{name}.compute_{arch}");
        }
    }
}

#[test]
fn calls_pass_parameters_of_the_sizes_that_the_callee_declares() {
    let module = parsed(&compiled("calls", 80));
    let kernel = module.function("struct_call").unwrap().body.as_ref().unwrap();
    let call = kernel.instructions.iter().find(|i| i.opcode == Opcode::Call).unwrap();
    let [Operand::Parameters(results), Operand::Function(callee), Operand::Parameters(arguments)] = &*call.operands
    else {
        panic!("{call:?}");
    };
    assert!(module.functions[*callee as usize].name.contains("swapped"));
    for passed in [results, arguments] {
        let [VariableRef::Local(index)] = **passed else { panic!("{passed:?}") };
        let variable = &kernel.variables[index as usize];
        // Pair is a float and a double.
        assert_eq!((variable.space, variable.bytes, variable.align), (Space::Param, Some(16), 8));
    }
}
