//! A copy of a configuration in which only the calibrated keys are changed: comments and order stay.

use toml_edit::{Array, DocumentMut, Item, Table, TomlError, Value as Toml, value};

use super::{settings::Setting, value::Value};

/// The file's text with these keys set. New keys bring their reason along, as a comment.
///
/// # Errors
/// When the text is no TOML.
pub(crate) fn patched<'a>(text: &str, settings: impl IntoIterator<Item = &'a Setting>) -> Result<String, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    for setting in settings {
        let section = document.entry(setting.section).or_insert_with(|| Item::Table(Table::new()));
        // What is no table is a fault that reading the configuration has found before.
        let Some(table) = section.as_table_like_mut() else { continue };
        let mut new = toml(&setting.value);
        match table.get_mut(setting.key).and_then(Item::as_value_mut) {
            Some(old) => {
                *new.decor_mut() = old.decor().clone();
                *old = new;
            }
            None => {
                table.insert(setting.key, value(new));
                if let Some(mut key) = table.key_mut(setting.key) {
                    key.leaf_decor_mut().set_prefix(format!("# {}\n", setting.reason));
                }
            }
        }
    }
    Ok(document.to_string())
}

/// Whether a file's text has this section.
#[must_use]
pub(crate) fn has_section(text: &str, section: &str) -> bool {
    text.parse::<DocumentMut>().is_ok_and(|it| it.contains_key(section))
}

fn toml(value: &Value) -> Toml {
    let list = |numbers: &[f64]| numbers.iter().copied().collect::<Array>();
    match value {
        Value::Integer(number) => (*number).into(),
        Value::Number(number) => (*number).into(),
        Value::Numbers(numbers) => list(numbers).into(),
        Value::Polygons(polygons) => {
            let polygon = |points: &Vec<[f64; 2]>| points.iter().map(|it| Toml::from(list(it))).collect::<Array>();
            polygons.iter().map(|it| Toml::from(polygon(it))).collect::<Array>().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(section: &'static str, key: &'static str, value: Value) -> Setting {
        Setting { camera: None, section, key, value, reason: "as measured".into() }
    }

    #[test]
    fn comments_and_order_stay() {
        let text = "\
# The hall, by the door.
[camera]
url = \"rtsp://192.168.1.64/1\"   # main stream

[sync]
offset_ms = 0   # not measured yet

[site] # told by a sign
context = \"event\"
";
        let settings = [
            setting("sync", "offset_ms", Value::Integer(180)),
            setting("camera", "masks", Value::Polygons(vec![vec![[0.0, 0.5], [1.0, 0.5], [1.0, 1.0]]])),
            setting("gates", "luma_min", Value::Number(30.0)),
        ];
        let expected = "\
# The hall, by the door.
[camera]
url = \"rtsp://192.168.1.64/1\"   # main stream
# as measured
masks = [[[0.0, 0.5], [1.0, 0.5], [1.0, 1.0]]]

[sync]
offset_ms = 180   # not measured yet

[site] # told by a sign
context = \"event\"

[gates]
# as measured
luma_min = 30.0
";
        assert_eq!(patched(text, &settings).unwrap(), expected);
        assert_eq!(patched(text, []).unwrap(), text);
    }

    #[test]
    fn a_section_in_one_line_is_a_section() {
        let settings = [setting("sync", "offset_ms", Value::Integer(-40))];
        assert_eq!(patched("sync = { offset_ms = 7 }\n", &settings).unwrap(), "sync = { offset_ms = -40 }\n");
        assert_eq!(patched("sync.offset_ms = 7 # old\n", &settings).unwrap(), "sync.offset_ms = -40 # old\n");
        assert!(has_section("sync.offset_ms = 7\n", "sync") && !has_section("[sync]\n", "reading"));
    }
}
