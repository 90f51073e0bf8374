//! One of our own layers: taken from the output if it is known to be there already, else written.

use cairn_layer::{Node, Source};
use cairn_oci::Descriptor;
use cairn_store::Written;
use cairn_store::transfer::Transferred;

use super::plan::PlannedLayer;
use super::{Build, BuildError, BuiltLayer};
use crate::records::{Record, Snapshot};

impl Build<'_> {
    /// Makes sure that the layer is in the output.
    pub(super) async fn own_layer(
        &self,
        platform: &cairn_oci::Platform,
        layer: PlannedLayer,
        transferred: &mut Transferred,
    ) -> Result<(Descriptor, BuiltLayer), BuildError> {
        let Some(records) = self.request.records else {
            self.tell_writing(&layer);
            return self.write_own_layer(layer, transferred).await;
        };
        let options = self.layer_options(&layer);
        let snapshot = Snapshot::of(&layer.tree, &options, records.began());
        let key = layer.key(platform);
        if let Some(record) = records.find(&snapshot.fingerprint())
            && self.has_blob(&record).await?
        {
            transferred.count(record.size, Written::Present);
            records.keep_last(&key, &snapshot);
            let descriptor = Descriptor::new(options.compression.media_type(), record.digest, record.size);
            return Ok((descriptor, known(&layer, &record)));
        }
        self.tell_writing(&layer);
        let (descriptor, built) = self.write_own_layer(layer, transferred).await?;
        let record = Record {
            digest: built.digest,
            size: built.size,
            diff_id: built.diff_id,
            uncompressed: built.uncompressed,
            files: built.files,
        };
        records.keep(&snapshot, &record);
        records.keep_last(&key, &snapshot);
        Ok((descriptor, built))
    }

    fn tell_writing(&self, layer: &PlannedLayer) {
        let local = layer.tree.iter().filter_map(|(_, node)| match node {
            Node::File {
                source: Source::Local(file),
                ..
            } => Some(file.size()),
            _ => None,
        });
        self.progress.writing(&layer.name, local.sum());
    }

    pub(super) async fn has_blob(&self, record: &Record) -> Result<bool, BuildError> {
        let found = self.output.stat_blob(&record.digest).await;
        let found = found.map_err(|source| self.write_error(record.digest, source))?;
        Ok(found == Some(record.size))
    }
}

pub(super) fn known(layer: &PlannedLayer, record: &Record) -> BuiltLayer {
    BuiltLayer {
        name: layer.name.clone(),
        part: layer.part,
        digest: record.digest,
        size: record.size,
        diff_id: record.diff_id,
        uncompressed: record.uncompressed,
        files: record.files,
        reused: true,
        read: false,
    }
}
