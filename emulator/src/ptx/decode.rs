//! From statements to instructions: finds the form whose modifiers and operands fit, or says what does not.

use std::collections::HashMap;

use super::body::RawBody;
use super::cursor::shortened;
use super::error::{PtxError, Result};
use super::expect::{Form, Slot};
use super::forms;
use super::instruction::{Guard, Instruction, RegisterClass};
use super::modifier::{Modifier, Modifiers};
use super::module::{Body, Function, Module};
use super::operand::Resolver;
use super::parser::{RawFunction, RawModule};
use super::statement::Statement;
use super::types::Space;

/// Decodes every function of a module; `names` are its functions by name.
pub(super) fn module(raw: &RawModule<'_>, names: &HashMap<&str, u32>) -> Result<Module> {
    let functions = raw.functions.iter().map(|f| function(raw, f, names)).collect::<Result<_>>()?;
    Ok(Module { version: raw.version, target: raw.target, variables: raw.variables.clone(), functions })
}

fn function(module: &RawModule<'_>, raw: &RawFunction<'_>, names: &HashMap<&str, u32>) -> Result<Function> {
    let body = match &raw.body {
        Some(body) => Some(Body {
            registers: body.registers,
            variables: body.variables.clone(),
            instructions: body
                .statements
                .iter()
                .map(|statement| instruction(module, raw, body, names, statement))
                .collect::<Result<_>>()?,
        }),
        None => None,
    };
    Ok(Function {
        name: raw.name.to_string(),
        kind: raw.kind,
        linkage: raw.linkage,
        results: raw.results.clone(),
        parameters: raw.parameters.clone(),
        bounds: raw.bounds,
        body,
        line: raw.line,
    })
}

fn instruction(
    module: &RawModule<'_>,
    function: &RawFunction<'_>,
    body: &RawBody<'_>,
    names: &HashMap<&str, u32>,
    statement: &Statement<'_>,
) -> Result<Instruction> {
    let resolver = Resolver { module, function, body, functions: names, scope: statement.scope };
    decoded(&resolver, statement).map_err(|what| PtxError::Instruction {
        kernel: function.name.to_string(),
        line: statement.line,
        text: shortened(statement.text),
        what,
    })
}

fn decoded(resolver: &Resolver<'_, '_>, statement: &Statement<'_>) -> std::result::Result<Instruction, String> {
    let guard = match statement.guard {
        Some((name, negated)) => {
            let register = resolver.register(name)?.0;
            if register.class != RegisterClass::Pred {
                return Err(format!("`{name}` guards an instruction and is no predicate"));
            }
            Some(Guard { register, negated })
        }
        None => None,
    };
    let candidates = forms::starting_with(statement.words[0]);
    if candidates.is_empty() {
        return Err(format!("the instruction `{}` is not supported", shortened(statement.words[0])));
    }
    // Of several complaints, the one of the form that got furthest is the most helpful.
    let (mut furthest, mut complaint, mut counts) = (0, None, Vec::new());
    for form in candidates {
        let modifiers = match matched(form, &statement.words) {
            Ok(modifiers) => modifiers,
            Err(at) => {
                furthest = furthest.max(at);
                continue;
            }
        };
        if module_target(resolver) < form.sm {
            let what = format!("needs the target sm_{} and the module is for sm_{}", form.sm, module_target(resolver));
            complaint.get_or_insert(what);
            continue;
        }
        match resolver.operands(form, &modifiers, &statement.operands) {
            Ok(Some(operands)) => {
                return Ok(Instruction { opcode: form.opcode, modifiers, operands, guard, line: statement.line });
            }
            Ok(None) => counts.push(form.operands.len().to_string()),
            Err(what) => drop(complaint.get_or_insert(what)),
        }
    }
    if let Some(what) = complaint {
        return Err(what);
    }
    if !counts.is_empty() {
        return Err(format!("has {} operands where {} are expected", statement.operands.len(), counts.join(" or ")));
    }
    Err(match statement.words.get(furthest) {
        Some(word) => format!("the modifier `.{}` is not supported here", shortened(word)),
        None => "a modifier is missing, for instance the type".into(),
    })
}

fn module_target(resolver: &Resolver<'_, '_>) -> u32 {
    resolver.module.target.sm
}

/// Whether `words` go on at `at` with all the words of `spelling`; gives how many those are.
fn continues(words: &[&str], at: usize, spelling: &str) -> Option<usize> {
    let mut rest = words[at..].iter();
    let mut count = 0;
    for part in spelling.split('.') {
        if rest.next() != Some(&part) {
            return None;
        }
        count += 1;
    }
    Some(count)
}

fn chosen(words: &[&str], at: usize, choices: &[Modifier]) -> Option<(Modifier, usize)> {
    choices.iter().find_map(|&choice| {
        let alias = match (choice, words.get(at)) {
            (Modifier::Space(space), Some(word)) => Space::from_spelling(word) == Some(space),
            _ => false,
        };
        if alias { Some((choice, 1)) } else { continues(words, at, choice.spelling()).map(|n| (choice, n)) }
    })
}

/// Reads the words by the form's slots; fails with the index of the first word that does not fit.
fn matched(form: &Form, words: &[&str]) -> std::result::Result<Modifiers, usize> {
    let mut at = continues(words, 0, form.opcode.spelling()).ok_or(1usize)?;
    let mut modifiers = Modifiers::default();
    for slot in form.slots {
        let found = match slot {
            Slot::Word(all) => {
                at += all.iter().find_map(|word| continues(words, at, word)).ok_or(at)?;
                continue;
            }
            Slot::One(choices) => Some(chosen(words, at, choices).ok_or(at)?),
            Slot::Maybe(choices) => chosen(words, at, choices),
        };
        if let Some((modifier, count)) = found {
            if !modifiers.add(modifier) {
                return Err(at);
            }
            at += count;
        }
    }
    if at == words.len() { Ok(modifiers) } else { Err(at) }
}
