//! What is refused, and the sentence for it.

mod support;

use rewind_emulator::ptx::{Module, Opcode, PtxError, forms, supported};
use support::{kernel, kernel_for, refusal};

#[test]
fn instructions_that_are_not_supported_say_what_is_wrong() {
    for (code, what) in [
        ("frobnicate.b32 %r1, %r2;", "the instruction `frobnicate` is not supported"),
        ("tex.2d.v4.f32.s32 {%f1,%f2,%f3,%f4}, [x, {%r1,%r2}];", "the instruction `tex` is not supported"),
        ("add.rna.f32 %f1, %f2, %f3;", "the modifier `.rna` is not supported here"),
        ("add.ftz.f64 %g1, %g2, %g3;", "the modifier `.f64` is not supported here"),
        ("fma.f32 %f1, %f2, %f3, %f1;", "a modifier is missing, for instance the type or the rounding"),
        ("add %r1, %r2, %r3;", "a modifier is missing, for instance the type or the rounding"),
        ("ld.global.v8.f32 %f1, [%d1];", "the modifier `.v8` is not supported here"),
        ("add.s32 %r1, %r2;", "has 2 operands where 3 are expected"),
        ("bar.sync;", "has 0 operands where 1 or 2 are expected"),
        ("add.s32 %r1, %r99, %r2;", "`%r99` is not declared as a register here"),
        ("add.s32 %r1, %d1, %r2;", "`%d1` is a .b64 register where .s32 is expected"),
        ("add.s32 %r1, %f1, %r2;", "`%f1` is a .f32 register where .s32 is expected"),
        ("add.s32 5, %r1, %r2;", "writes to something that is no register"),
        ("add.s32 %r1, %r2, 4294967296;", "the constant does not fit .s32"),
        ("add.u16 %h1, %h2, -32769;", "the constant does not fit .u16"),
        ("add.s32 %r1, %r2, 0d3FF0000000000000;", "the constant does not fit .s32"),
        ("selp.b32 %r1, %r2, %r3, %r4;", "`%r4` is no predicate"),
        ("@%r1 ret;", "`%r1` guards an instruction and is no predicate"),
        ("bra nowhere;", "there is no label `nowhere` here"),
        ("bra L; { L: ret; }", "there is no label `L` here"),
        ("mov.u32 %r1, %cluster_ctaid.x;", "the special register `%cluster_ctaid.x` is not supported"),
        ("mov.u64 %d1, %tid.x;", "`%tid.x` has 32 bits and does not fit .u64"),
        ("mov.u64 %d1, k;", "takes the address of the function `k`, which is not supported"),
        ("ld.shared.u32 %r1, [total];", "`total` lies in .global space, and this is a .shared access"),
        ("st.param.u32 [n], %r1;", "stores to the parameter `n`"),
        ("st.const.u32 [table], %r1;", "the modifier `.const` is not supported here"),
        ("ld.global.u32 %r1, [%r2];", "`%r2` is a .b32 register and holds no address here"),
        ("ld.global.v2.u32 %r1, [%d1];", "needs 2 registers in braces"),
        ("ld.global.v2.u32 {%r1,%r2,%r3}, [%d1];", "has 3 registers in braces where 2 are expected"),
        ("cp.async.cg.shared.global [tile], [%d1], 8;", "needs one of the constants [16]"),
        ("lop3.b32 %r1, %r2, %r3, %r4, 256;", "needs a constant from 0 to 255"),
        ("call %d1, (x);", "calls through a register, and indirect calls are not supported"),
        ("call missing;", "calls `missing`, which the module does not declare"),
        ("call k, (stack, stack);", "calls the kernel `k`; launches from the device are not supported"),
        ("atom.release.global.release.add.u32 %r1, [%d1], 1;", "the modifier `.release` is not supported here"),
    ] {
        assert_eq!(refusal(code), what, "{code}");
    }
}

#[test]
fn an_instruction_newer_than_the_target_is_refused() {
    let code = "add.bf16 %h1, %h2, %h3;";
    assert!(Module::parse(&kernel_for(90, code)).is_ok());
    let e = Module::parse(&kernel_for(86, code)).unwrap_err().to_string();
    let sentence =
        "kernel k, PTX line 5: needs the target sm_90 and the module is for sm_86, in `add.bf16 %h1, %h2, %h3;`";
    assert_eq!(e, sentence);
    for (arch, code) in [
        (75, "redux.sync.add.s32 %r1, %r2, %r3;"),
        (75, "cp.async.wait_all;"),
        (75, "mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%r1,%r2}, {%r1,%r2,%r3,%r4}, {%r5,%r6}, {%r1,%r2};"),
        (70, "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r1}, [tile];"),
        (61, "fence.acq_rel.gpu;"),
    ] {
        let next = [61, 70, 75, 80].into_iter().find(|&next| next > arch).unwrap();
        assert!(Module::parse(&kernel_for(next, code)).is_ok(), "{code}");
        assert!(Module::parse(&kernel_for(arch, code)).is_err(), "{code}");
    }
}

#[test]
fn versions_and_targets_outside_the_range_are_refused() {
    let with = |version: &str, target: &str, size: &str| {
        let text = format!(".version {version}\n.target {target}\n.address_size {size}\n.entry k() {{ ret; }}");
        Module::parse(&text).map_err(|e| e.to_string())
    };
    for version in ["6.0", "6.5", "7.0", "7.8", "8.5", "9.0", "9.4"] {
        assert!(with(version, "sm_80", "64").is_ok(), "{version}");
    }
    for target in [
        "sm_50",
        "sm_61",
        "sm_70",
        "sm_75",
        "sm_80",
        "sm_86",
        "sm_100",
        "sm_120a",
        "sm_121",
        "sm_87",
        "sm_89",
        "sm_90",
        "sm_90a",
        "sm_80, debug",
    ] {
        assert!(with("9.0", target, "64").is_ok(), "{target}");
    }
    assert_eq!(
        with("9.5", "sm_80", "64").unwrap_err(),
        "PTX line 1: PTX version 9.5 is not supported; versions 6.0 to 9.4 are"
    );
    assert!(with("5.0", "sm_80", "64").unwrap_err().contains("version 5.0"));
    for target in ["sm_35", "sm_130", "compute_80", "sm_", "sm_90x"] {
        let sentence = format!("PTX line 2: the target `{target}` is not supported; sm_50 to sm_121 are");
        assert_eq!(with("9.0", target, "64").unwrap_err(), sentence);
    }
    assert!(with("9.0", "sm_80", "32").unwrap_err().contains("addresses of 32 bits"));
    assert!(Module::parse("\x7fELF").is_err() && Module::parse("").is_err());
}

#[test]
fn declarations_that_are_not_supported_are_refused() {
    for (code, what) in [
        (".reg .b32 %r<4>;", "`%r` is declared twice in one scope"),
        (".shared .b8 tile[4];", "`tile` is declared twice in one scope"),
        ("L: L: ret;", "the label `L` stands twice in one scope"),
        (".reg .v4 .f32 v;", "registers of type `.v4` are not supported"),
        (".shared .b32 z = 4;", "a .shared variable cannot have an initial value"),
        (".global .b32 z;", "a `.global` variable within a function is not supported"),
        ("p: .callprototype _ (.param .b32 _);", "which indirect calls need, is not supported"),
        (".align 4;", "the directive `.align` is not supported within a function"),
        ("add.s32 %r1, %r2 %r3;", "expected `;`, found `%r3`"),
    ] {
        let e = Module::parse(&kernel(code)).unwrap_err();
        assert!(matches!(e, PtxError::Syntax { line: 5, .. }), "{code}: {e}");
        assert!(e.to_string().contains(what), "{code}: {e}");
    }
    let header = ".version 9.0 .target sm_80 .address_size 64\n";
    for (text, what) in [
        (".global .b32 a; .global .b32 a;", "`a` is declared twice"),
        (".extern .global .b32 a;", "linking is not supported"),
        (".global .b8 a[2] = {1, 2, 3};", "`a` has 2 bytes and 3 bytes of initial values"),
        (".global .b8 a[];", "`a` has no size"),
        (".global .u64 a = missing;", "`missing` is no variable declared before"),
        (".entry k(.param .b8 a[40000]) { ret; }", "the parameters take more than 32764 bytes"),
        (".entry k();", "kernel `k` is declared without its code"),
        (".entry k() .reqnctapercluster 2 { ret; }", "the directive `.reqnctapercluster` of a function"),
        (".func f(.param .b32 a) ; .func f(.param .b64 a) { ret; }", "declared before with other parameters"),
        (".extern .func puts(); .entry k() { call puts; }", "calls `puts`, which has no code here"),
        (".tex .u64 t;", "the directive `.tex` is not supported"),
    ] {
        let e = Module::parse(&format!("{header}{text}")).unwrap_err().to_string();
        assert!(e.starts_with("PTX line 2") || e.starts_with("kernel k, PTX line 2"), "{text}: {e}");
        assert!(e.contains(what), "{text}: {e}");
    }
}

#[test]
fn line_information_and_debug_sections_are_skipped() {
    let text = kernel(
        ".loc 1 22 5\n.loc 1 23 5, function_name $L__info+8, inlined_at 1 24 3\n.pragma \"nounroll\";\nadd.s32 %r1, %r2, 3;",
    );
    let text = text + "\n.file 1 \"kernel.cu\"\n.section .debug_str { .b8 1,2\n $L__info: { .b32 4 } }";
    let module = support::parsed(&text);
    assert_eq!(module.functions[0].body.as_ref().unwrap().instructions[0].line, 8);
}

#[test]
fn the_list_of_forms_names_every_opcode_and_nothing_twice() {
    let all: Vec<String> = forms().collect();
    assert_eq!(supported().lines().count(), all.len());
    for opcode in Opcode::ALL {
        let named = |line: &String| {
            let rest = line.strip_prefix(opcode.spelling());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '(', '{', ' ']))
        };
        assert!(all.iter().any(named), "{opcode:?} has no form");
    }
    let mut sorted = all.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.len(), all.len(), "a form stands twice");
    assert!(all.contains(&"fma(.rn|.rz|.rm|.rp){.ftz}{.sat}.f32 d, a, a, a".to_string()));
}
