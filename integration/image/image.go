// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	_ "crypto/sha256" // go-digest computes digests with what is linked in
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// nameAnnotation is where containerd looks for the name of an image that it imports.
const nameAnnotation = "io.containerd.image.name"

// Image is a container image for the platform that this program runs on.
type Image struct {
	// Name is the full reference, such as molt.test/app:1.
	Name string
	// Layers from the bottom one to the top one.
	Layers []Layer
	// Config is what a container of the image runs, and its labels.
	Config ocispec.ImageConfig
	// Annotations of the manifest.
	Annotations map[string]string
}

// WriteTar writes the image as the tar archive of an OCI image layout, as `ctr images import` and
// `nerdctl load` read it, and returns the descriptor of its manifest.
func (i Image) WriteTar(w io.Writer) (ocispec.Descriptor, error) {
	a := archive{tw: tar.NewWriter(w)}
	manifest, err := i.writeManifest(a)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("write image %s: %w", i.Name, err)
	}
	named := manifest
	named.Annotations = map[string]string{nameAnnotation: i.Name}
	index := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{named},
	}
	if err := a.writeJSON(ocispec.ImageIndexFile, index); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("write index of %s: %w", i.Name, err)
	}
	layout := ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}
	if err := a.writeJSON(ocispec.ImageLayoutFile, layout); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("write layout of %s: %w", i.Name, err)
	}
	if err := a.tw.Close(); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("finish image %s: %w", i.Name, err)
	}
	return manifest, nil
}

// writeManifest writes layers, configuration and manifest.
func (i Image) writeManifest(a archive) (ocispec.Descriptor, error) {
	config := ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH},
		Config:   i.Config,
		RootFS:   ocispec.RootFS{Type: "layers"},
	}
	manifest := ocispec.Manifest{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   ocispec.MediaTypeImageManifest,
		Annotations: i.Annotations,
	}
	for n, layer := range i.Layers {
		desc, err := a.writeLayer(layer)
		if err != nil {
			return ocispec.Descriptor{}, fmt.Errorf("layer %d: %w", n, err)
		}
		manifest.Layers = append(manifest.Layers, desc)
		// Layers are not compressed, so the digest of a layer is also its diff ID.
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, desc.Digest)
	}
	var err error
	if manifest.Config, err = a.writeBlobJSON(ocispec.MediaTypeImageConfig, config); err != nil {
		return ocispec.Descriptor{}, err
	}
	return a.writeBlobJSON(ocispec.MediaTypeImageManifest, manifest)
}

// archive is the tar archive of an image layout that is being written. Layers that occur twice are written
// twice: readers take either.
type archive struct {
	tw *tar.Writer
}

// writeLayer writes the blob of a layer. Its name is its digest, so it goes through a temporary file.
func (a archive) writeLayer(l Layer) (ocispec.Descriptor, error) {
	spool, err := os.CreateTemp("", "molt-layer-")
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("spool layer: %w", err)
	}
	defer spool.Close()
	if err := os.Remove(spool.Name()); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("spool layer: %w", err)
	}

	digester := digest.Canonical.Digester()
	tw := tar.NewWriter(io.MultiWriter(spool, digester.Hash()))
	if err := l.write(tw); err != nil {
		return ocispec.Descriptor{}, err
	}
	if err := tw.Close(); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("finish layer: %w", err)
	}
	size, err := spool.Seek(0, io.SeekCurrent)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("measure layer: %w", err)
	}
	desc := ocispec.Descriptor{
		MediaType:   ocispec.MediaTypeImageLayer,
		Digest:      digester.Digest(),
		Size:        size,
		Annotations: l.annotations,
	}
	return desc, a.write(blobName(desc.Digest), size, io.NewSectionReader(spool, 0, size))
}

func (a archive) writeBlobJSON(mediaType string, v any) (ocispec.Descriptor, error) {
	content, err := json.Marshal(v)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("encode %s: %w", mediaType, err)
	}
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
	e := File(blobName(desc.Digest), string(content))
	return desc, e.writeTo(a.tw)
}

func (a archive) writeJSON(name string, v any) error {
	content, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return File(name, string(content)).writeTo(a.tw)
}

func (a archive) write(name string, size int64, content io.Reader) error {
	h := header(tar.TypeReg, name, 0o644)
	h.Size = size
	if err := a.tw.WriteHeader(&h); err != nil {
		return fmt.Errorf("write header of %s: %w", name, err)
	}
	if _, err := io.Copy(a.tw, content); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func blobName(d digest.Digest) string {
	return "blobs/" + d.Algorithm().String() + "/" + d.Encoded()
}
