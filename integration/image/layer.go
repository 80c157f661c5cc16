// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Layer is one layer of an image. It is written each time its image is, so it costs nothing to keep.
type Layer struct {
	write       func(*tar.Writer) error
	annotations map[string]string
}

// Files is a layer of these entries in this order. Directories that are not listed appear, with mode 0755,
// when the layer is unpacked.
func Files(entries ...Entry) Layer {
	return Layer{write: func(tw *tar.Writer) error {
		for _, e := range entries {
			if err := e.writeTo(tw); err != nil {
				return err
			}
		}
		return nil
	}}
}

// WithAnnotation returns the layer with one more annotation on its descriptor in the manifest.
func (l Layer) WithAnnotation(key, value string) Layer {
	annotations := maps.Clone(l.annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[key] = value
	l.annotations = annotations
	return l
}

func (e Entry) writeTo(tw *tar.Writer) error {
	h := e.Header
	h.Size = int64(len(e.Content))
	if err := tw.WriteHeader(&h); err != nil {
		return fmt.Errorf("write header of %s: %w", h.Name, err)
	}
	if _, err := tw.Write(e.Content); err != nil {
		return fmt.Errorf("write content of %s: %w", h.Name, err)
	}
	return nil
}

// Busybox is a base layer with the userland of the host's busybox, which must be a static binary: nothing
// else that it could load is in the image.
func Busybox() (Layer, error) {
	binary, err := findBusybox()
	if err != nil {
		return Layer{}, err
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return Layer{}, fmt.Errorf("read busybox: %w", err)
	}
	list, err := exec.Command(binary, "--list").Output()
	if err != nil {
		return Layer{}, fmt.Errorf("list the applets of %s: %w", binary, err)
	}
	entries := []Entry{
		Directory("bin"),
		File("bin/busybox", string(content)).WithMode(0o755),
		Directory("etc"),
		File("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
		File("etc/group", "root:x:0:\n"),
		Directory("root").WithMode(0o700),
		Directory("tmp").WithMode(0o1777),
	}
	for _, applet := range slices.Sorted(slices.Values(strings.Fields(string(list)))) {
		if applet != "busybox" {
			entries = append(entries, Symlink("bin/"+applet, "busybox"))
		}
	}
	return Files(entries...), nil
}

// ErrNoBusybox says that the host has no static busybox to make a base layer from.
var ErrNoBusybox = errors.New("no static busybox found (Debian package busybox-static)")

// findBusybox returns the path of a busybox that needs no dynamic loader.
func findBusybox() (string, error) {
	found, err := exec.LookPath("busybox")
	if err != nil {
		return "", ErrNoBusybox
	}
	binary, err := filepath.EvalSymlinks(found)
	if err != nil {
		return "", fmt.Errorf("resolve %s: %w", found, err)
	}
	f, err := elf.Open(binary)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", binary, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return "", fmt.Errorf("%s is linked dynamically: %w", binary, ErrNoBusybox)
		}
	}
	return binary, nil
}
