// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/image-spec/identity"

	"github.com/molt-snapshotter/molt-snapshotter/integration/image"
)

// Import puts an image into containerd, as its name, and unpacks it with the snapshotter of the harness. An
// image of that name is replaced, as a pull of a newer one does it.
func (h *Harness) Import(img image.Image) containerd.Image {
	h.t.Helper()
	imported, err := h.TryImport(img)
	h.must(err)
	return imported
}

// TryImport is Import for images that may fail to unpack.
func (h *Harness) TryImport(img image.Image) (containerd.Image, error) {
	return h.importInto(h.t.Context(), h.Namespace, img)
}

// ImportWithCtr is Import through `ctr images import`: there it is containerd's transfer service that unpacks,
// as it does for a pull, and that labels each snapshot with what it is made of.
func (h *Harness) ImportWithCtr(img image.Image) containerd.Image {
	h.t.Helper()
	archive := h.WriteImage(img)
	h.Ctr("images", "import", "--snapshotter", h.Snapshotter, archive)
	h.must(os.Remove(archive))
	imported, err := h.client.GetImage(h.Context(), img.Name)
	h.must(err)
	return imported
}

// WriteImage writes the image as an archive below Root and returns its path.
func (h *Harness) WriteImage(img image.Image) string {
	h.t.Helper()
	f, err := os.Create(h.Path("out", h.unique("image")+".tar"))
	h.must(err)
	_, err = img.WriteTar(f)
	h.must(errors.Join(err, f.Close()))
	return f.Name()
}

// ChainIDs are the names of the committed snapshots of an image, from the bottom layer to the top one.
func (h *Harness) ChainIDs(img containerd.Image) []string {
	h.t.Helper()
	diffs, err := img.RootFS(h.Context())
	h.must(err)
	var names []string
	for _, id := range identity.ChainIDs(diffs) {
		names = append(names, id.String())
	}
	return names
}

// importInto streams the image to containerd and unpacks it in a containerd namespace.
func (h *Harness) importInto(ctx context.Context, namespace string, img image.Image) (containerd.Image, error) {
	ctx = namespaces.WithNamespace(ctx, namespace)
	r, w := io.Pipe()
	go func() {
		_, err := img.WriteTar(w)
		w.CloseWithError(err)
	}()
	defer r.Close()
	if _, err := h.client.Import(ctx, r); err != nil {
		return nil, fmt.Errorf("import %s: %w", img.Name, err)
	}
	imported, err := h.client.GetImage(ctx, img.Name)
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", img.Name, err)
	}
	if err := imported.Unpack(ctx, h.Snapshotter); err != nil {
		return nil, fmt.Errorf("unpack %s: %w", img.Name, err)
	}
	return imported, nil
}
