// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package image_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/integration/image"
)

func TestFiles(t *testing.T) {
	when := time.Unix(1_500_000_000, 0)
	entries := []image.Entry{
		image.Directory("d"),
		image.File("d/f", "content").WithMode(0o4755).WithOwner(1, 2).WithModTime(when).WithXattr("user.a", "1").WithXattr("user.b", "2"),
		image.Symlink("d/s", "../outside"),
		image.Hardlink("d/h", "d/f"),
		image.Whiteout("d/gone"),
		image.Opaque("d"),
	}
	got := layerOf(t, image.Bare("molt.test/x:1", image.Files(entries...)))
	want := []string{"d/", "d/f", "d/s", "d/h", "d/.wh.gone", "d/.wh..wh..opq"}
	if names := got.names(); !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
	f := got["d/f"]
	if f.content != "content" || f.Mode != 0o4755 || f.Uid != 1 || f.Gid != 2 || !f.ModTime.Equal(when) {
		t.Errorf("file: %+v", f)
	}
	xattrs := map[string]string{"SCHILY.xattr.user.a": "1", "SCHILY.xattr.user.b": "2"}
	for k, v := range xattrs {
		if f.PAXRecords[k] != v {
			t.Errorf("%s is %q, want %q", k, f.PAXRecords[k], v)
		}
	}
	if got["d/s"].Linkname != "../outside" || got["d/h"].Linkname != "d/f" || got["d/h"].Typeflag != tar.TypeLink {
		t.Errorf("links: %+v, %+v", got["d/s"], got["d/h"])
	}
}

func TestTree(t *testing.T) {
	root := t.TempDir()
	when := time.Unix(1_600_000_000, 123)
	file := filepath.Join(root, "dir", "file")
	for _, err := range []error{
		os.Mkdir(filepath.Dir(file), 0o750),
		os.WriteFile(file, []byte("content"), 0o600),
		os.Chmod(file, 0o640|os.ModeSetuid),
		unix.Setxattr(file, "user.note", []byte("kept"), 0),
		os.Chtimes(file, when, when),
		os.Link(file, filepath.Join(root, "dir", "link")),
		os.Symlink("file", filepath.Join(root, "dir", "symlink")),
		unix.Mkfifo(filepath.Join(root, "fifo"), 0o644),
		unix.Mknod(filepath.Join(root, "socket"), unix.S_IFSOCK|0o644, 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got := layerOf(t, image.Bare("molt.test/x:1", image.Tree(root)))
	if names, want := got.names(), []string{"dir/", "dir/file", "dir/link", "dir/symlink", "fifo"}; !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
	f := got["dir/file"]
	if f.content != "content" || f.Mode != 0o4640 || !f.ModTime.Equal(when) || f.PAXRecords["SCHILY.xattr.user.note"] != "kept" {
		t.Errorf("file: %+v", f)
	}
	if l := got["dir/link"]; l.Typeflag != tar.TypeLink || l.Linkname != "dir/file" {
		t.Errorf("hard link: %+v", l)
	}
	if got["dir/symlink"].Linkname != "file" || got["fifo"].Typeflag != tar.TypeFifo || got["dir/"].Mode != 0o750 {
		t.Errorf("others: %+v, %+v, %+v", got["dir/symlink"], got["fifo"], got["dir/"])
	}
}

func TestTreeThatIsNotThere(t *testing.T) {
	img := image.Bare("molt.test/x:1", image.Tree(filepath.Join(t.TempDir(), "nothing")))
	if _, err := img.WriteTar(io.Discard); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want %v", err, os.ErrNotExist)
	}
}

// TestSameDigests reads a layout as containerd does, and checks that two writes of one image are equal.
func TestSameDigests(t *testing.T) {
	img := image.Bare("molt.test/x:1", image.Files(image.File("a", "a")).WithAnnotation("note", "low"), image.Files(image.File("b", "b")))
	first, again := write(t, img), write(t, img)
	if !maps.Equal(first, again) {
		t.Error("two writes of one image differ")
	}
	var index ocispec.Index
	decode(t, first["index.json"], &index)
	if len(index.Manifests) != 1 || index.Manifests[0].Annotations["io.containerd.image.name"] != "molt.test/x:1" {
		t.Errorf("index: %+v", index)
	}
	var manifest ocispec.Manifest
	decode(t, blob(first, index.Manifests[0]), &manifest)
	var config ocispec.Image
	decode(t, blob(first, manifest.Config), &config)
	if len(manifest.Layers) != 2 || len(config.RootFS.DiffIDs) != 2 || manifest.Layers[0].Annotations["note"] != "low" {
		t.Errorf("manifest: %+v, configuration: %+v", manifest, config)
	}
	for n, layer := range manifest.Layers {
		content := blob(first, layer)
		if int64(len(content)) != layer.Size || layer.Digest.Algorithm().FromString(content) != config.RootFS.DiffIDs[n] {
			t.Errorf("layer %d: %+v has %d bytes", n, layer, len(content))
		}
	}
}

func TestDeep(t *testing.T) {
	img, err := image.Deep("molt.test/deep:1", 3)
	if errors.Is(err, image.ErrNoBusybox) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(img.Layers) != 3 {
		t.Fatalf("%d layers", len(img.Layers))
	}
	if top := layerOf(t, img); top["deep/top"].content != "2" {
		t.Errorf("the highest layer: %+v", top)
	}
	img.Layers = img.Layers[:1]
	base := layerOf(t, img)
	if sh := base["bin/sh"]; sh.Linkname != "busybox" || !strings.HasPrefix(base["bin/busybox"].content, "\x7fELF") {
		t.Errorf("the base layer has no shell: %+v", sh)
	}
}

// layer is what the archive of a layer holds, by name.
type layer map[string]struct {
	tar.Header
	content string
	order   int
}

// names in the order of the archive.
func (l layer) names() []string {
	return slices.SortedFunc(maps.Keys(l), func(a, b string) int { return l[a].order - l[b].order })
}

// layerOf returns the highest layer of an image.
func layerOf(t *testing.T, img image.Image) layer {
	t.Helper()
	files := write(t, img)
	var index ocispec.Index
	decode(t, files["index.json"], &index)
	var manifest ocispec.Manifest
	decode(t, blob(files, index.Manifests[0]), &manifest)
	return untar(t, strings.NewReader(blob(files, manifest.Layers[len(manifest.Layers)-1])))
}

// write returns the files of the layout of an image.
func write(t *testing.T, img image.Image) map[string]string {
	t.Helper()
	var buf bytes.Buffer
	if _, err := img.WriteTar(&buf); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for name, f := range untar(t, &buf) {
		files[name] = f.content
	}
	return files
}

func untar(t *testing.T, r io.Reader) layer {
	t.Helper()
	l := layer{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return l
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		e := l[h.Name]
		e.Header, e.content, e.order = *h, string(content), len(l)
		l[h.Name] = e
	}
}

func blob(files map[string]string, desc ocispec.Descriptor) string {
	return files["blobs/"+desc.Digest.Algorithm().String()+"/"+desc.Digest.Encoded()]
}

func decode(t *testing.T, content string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(content), v); err != nil {
		t.Fatalf("decode %q: %v", content, err)
	}
}
