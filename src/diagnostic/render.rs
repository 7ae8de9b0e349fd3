//! Draws diagnostics with line and caret.

use std::collections::BTreeMap;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{Diagnostic, Severity};

/// File texts by the name that spans carry.
pub type Sources = BTreeMap<String, String>;

/// The finding as text, with its line and caret where the source is known.
pub fn render(diagnostic: &Diagnostic, sources: &Sources, colour: bool) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group =
        Group::with_title(level.primary_title(&diagnostic.message).id(diagnostic.code.name()));
    let known = diagnostic.span.as_ref().and_then(|span| Some((span, sources.get(&*span.file)?)));
    if let Some((span, text)) = known {
        let range = span.start.min(text.len())..span.end.clamp(span.start, text.len());
        let mut annotation = AnnotationKind::Primary.span(range);
        if let Some(label) = &diagnostic.label {
            annotation = annotation.label(label);
        }
        group = group
            .element(Snippet::source(text).path(&*span.file).fold(true).annotation(annotation));
    } else if let Some(span) = &diagnostic.span {
        group = group.element(
            Level::NOTE.message(format!("at {}:{}:{}", span.file, span.line, span.column)),
        );
    }
    for help in &diagnostic.help {
        group = group.element(Level::HELP.message(help));
    }
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    renderer.render(&[group])
}
