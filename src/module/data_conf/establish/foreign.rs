//! What others keep in the folder in which this product keeps what is not content: it is never touched.

use super::super::DataConf;
use super::super::end::End;
use crate::error::{Error, ErrorKind, Result};
use crate::report::QuarantinedItem;
use crate::store::content::{ContentPath, ContentStore, MarkerRole};

/// How many names a refusal has.
const NAMED: usize = 10;

/// A store is not marked as long as something of others would lie beside the marker: nobody could tell one from the
/// other any more.
pub(in super::super) fn refuse_foreign(end: &End) -> Result<()> {
    let foreign = end.foreign()?;
    if foreign.is_empty() {
        return Ok(());
    }
    let (url, names) = (end.url(), few(&foreign));
    Err(Error::new(
        ErrorKind::ForeignContent,
        format!(
            "{url} has a .csb already, which holds what is not this product's: {names}. Nothing was marked, copied or \
             deleted."
        ),
        "This product keeps its marker in .csb at the root of a content store. Rename the .csb that is there, or move what \
         is in it to another folder, which is then copied as well; then run the command again.",
    )
    .at("store", url)
    .on(end.side))
}

fn few(names: &[ContentPath]) -> String {
    let first: Vec<String> = names.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if names.len() > NAMED { " and more" } else { "" };
    format!("{}{more}", first.join(", "))
}

impl DataConf {
    /// What others have put into `.csb` of both stores since these were marked.
    pub(in super::super) fn name_foreign(&self) -> Result<Vec<QuarantinedItem>> {
        let mut named = Vec::new();
        for (end, role) in [(&self.source, MarkerRole::Source), (&self.standby, MarkerRole::Standby)] {
            let advice = match role {
                MarkerRole::Source => "Move it to another folder of the content store: there it is copied.",
                _ => "Move it away from the standby copy, if nobody needs it there.",
            };
            named.extend(end.foreign()?.into_iter().map(|path| QuarantinedItem {
                item: path.to_string(),
                reason: format!(
                    "Somebody has put it where this product keeps what is not content, in {}: it is neither copied nor \
                     deleted.",
                    end.url()
                ),
                advice: advice.to_owned(),
            }));
        }
        Ok(named)
    }

    /// The same in a sentence for whoever takes everything of this product's away; none where there is nothing.
    pub(in super::super) fn tell_foreign(&self) -> Result<Vec<String>> {
        let mut told = Vec::new();
        // Another machine keeps what is its own.
        for end in [&self.source, &self.standby].into_iter().filter(|end| !end.is_elsewhere()) {
            let foreign = end.foreign()?;
            if !foreign.is_empty() {
                let names = few(&foreign);
                told.push(format!("Left in {}, because others have put it there: {names}.", end.url()));
            }
        }
        Ok(told)
    }
}
