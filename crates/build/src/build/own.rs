//! One of our own layers: taken from the output if it is known to be there already, else written.

use cairn_layer::{Node, Source, Tree, archive_length, hash_archive};
use cairn_oci::{Descriptor, Digest};
use cairn_store::Written;
use cairn_store::transfer::Transferred;

use super::plan::{Body, PlannedLayer};
use super::{Build, BuildError, BuiltLayer};
use crate::blocking::run;
use crate::build_record::{RecordedLayer, ReleasedLayer, layer_input};
use crate::records::{Record, Snapshot};

impl Build<'_> {
    /// Makes sure that the layer is in the output.
    pub(super) async fn own_layer(
        &self,
        platform: &cairn_oci::Platform,
        layer: PlannedLayer,
        transferred: &mut Transferred,
    ) -> Result<(Descriptor, BuiltLayer), BuildError> {
        let options = self.layer_options(&layer);
        let media_type = options.compression.media_type();
        let layer = match layer.divide() {
            (layer, Body::Tree(tree)) => layer.with(tree),
            (layer, Body::Known(record)) => {
                transferred.count(record.size, Written::Present);
                let descriptor = Descriptor::new(media_type, record.digest, record.size);
                return Ok((descriptor, known(&layer, &record)));
            }
        };
        let Some(records) = self.request.records else {
            return self.new_layer(layer, transferred).await;
        };
        let snapshot = Snapshot::of(&layer.body, &options, records.began());
        let key = layer.key(platform);
        if let Some(record) = records.find(&snapshot.fingerprint())
            && self.has_blob(&record.digest, record.size).await?
        {
            transferred.count(record.size, Written::Present);
            records.keep_last(&key, &snapshot);
            let descriptor = Descriptor::new(media_type, record.digest, record.size);
            return Ok((descriptor, known(&layer, &record)));
        }
        let (descriptor, built) = self.new_layer(layer, transferred).await?;
        let record = record(&built);
        records.keep(&snapshot, &record);
        records.keep_last(&key, &snapshot);
        Ok((descriptor, built))
    }

    /// One that no earlier build on this machine knows: taken over from a release, else written.
    async fn new_layer(
        &self,
        layer: PlannedLayer<Tree>,
        transferred: &mut Transferred,
    ) -> Result<(Descriptor, BuiltLayer), BuildError> {
        self.tell_writing(&layer);
        let (layer, released) = self.released(layer).await?;
        let Some(ReleasedLayer {
            version,
            layer: taken,
        }) = released
        else {
            return self.write_own_layer(layer, transferred).await;
        };
        transferred.count(taken.size, Written::Present);
        let descriptor = Descriptor::new(layer.compression.media_type(), taken.digest, taken.size);
        let built = BuiltLayer {
            files: layer.files(),
            name: layer.name,
            part: layer.part,
            digest: taken.digest,
            size: taken.size,
            diff_id: taken.diff_id,
            uncompressed: taken.uncompressed,
            compression: layer.compression,
            reused: true,
            release: Some(version),
            read: true,
        };
        Ok((descriptor, built))
    }

    /// The layer, and the release that has it, if one is known and the output has its blob.
    ///
    /// What the files are now decides: they are read and hashed, and only that hash is looked up. Where no release has an
    /// archive of the same length, that would be in vain, and is left out.
    async fn released(
        &self,
        layer: PlannedLayer<Tree>,
    ) -> Result<(PlannedLayer<Tree>, Option<ReleasedLayer>), BuildError> {
        let Some(releases) = self.request.releases else {
            return Ok((layer, None));
        };
        let options = self.layer_options(&layer);
        let write_error = |layer: &PlannedLayer<Tree>, source| BuildError::Layer {
            layer: layer.name.clone(),
            source,
        };
        let length = archive_length(&layer.body, &options).map_err(|source| write_error(&layer, source))?;
        let may_be = |of: &RecordedLayer| {
            of.uncompressed == length && of.media_type == options.compression.media_type()
        };
        let all = releases.layers().await;
        if !all.iter().any(|released| may_be(&released.layer)) {
            return Ok((layer, None));
        }
        let (layer, hashed) = run(move || {
            let hashed = hash_archive(&layer.body, &options);
            (layer, hashed)
        })
        .await;
        let hashed = hashed.map_err(|source| write_error(&layer, source))?;
        let input = layer_input(options.compression, &hashed.diff_id);
        for released in all {
            let taken = &released.layer;
            let is_it = may_be(taken) && taken.input == input && taken.diff_id == hashed.diff_id;
            if is_it && self.has_blob(&taken.digest, taken.size).await? {
                return Ok((layer, Some(released.clone())));
            }
        }
        Ok((layer, None))
    }

    fn tell_writing(&self, layer: &PlannedLayer<Tree>) {
        let local = layer.body.iter().filter_map(|(_, node)| match node {
            Node::File {
                source: Source::Local(file),
                ..
            } => Some(file.size()),
            _ => None,
        });
        self.progress.writing(&layer.name, local.sum());
    }

    /// Whether the output has the blob, in this length.
    pub(super) async fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool, BuildError> {
        let found = self.output.stat_blob(digest).await;
        let found = found.map_err(|source| self.write_error(*digest, source))?;
        Ok(found == Some(size))
    }
}

/// What is kept of a layer for later builds.
pub(super) const fn record(built: &BuiltLayer) -> Record {
    Record {
        digest: built.digest,
        size: built.size,
        diff_id: built.diff_id,
        uncompressed: built.uncompressed,
        files: built.files,
    }
}

pub(super) fn known<B>(layer: &PlannedLayer<B>, record: &Record) -> BuiltLayer {
    BuiltLayer {
        name: layer.name.clone(),
        part: layer.part,
        digest: record.digest,
        size: record.size,
        diff_id: record.diff_id,
        uncompressed: record.uncompressed,
        files: record.files,
        compression: layer.compression,
        reused: true,
        release: None,
        read: false,
    }
}
