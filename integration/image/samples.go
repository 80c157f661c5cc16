// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// idle is a command that runs until it is killed, and ends at once when asked to.
func idle() []string {
	return []string{"sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done"}
}

// New is an image whose bottom layer is Busybox and whose other layers are the given ones. Its containers
// idle unless they are given another command.
func New(name string, layers ...Layer) (Image, error) {
	base, err := Busybox()
	if err != nil {
		return Image{}, err
	}
	return Bare(name, append([]Layer{base}, layers...)...), nil
}

// Bare is an image with exactly these layers, which bring their own userland: Tree of what debootstrap made is
// an image with a single layer. Its containers idle unless they are given another command.
func Bare(name string, layers ...Layer) Image {
	return Image{Name: name, Layers: layers, Config: config()}
}

// Deep is an image with that many layers in all. Above Busybox, layer N brings the file /deep/N and replaces
// /deep/top, so that /deep/top holds the number of the highest layer.
func Deep(name string, layers int) (Image, error) {
	upper := make([]Layer, 0, layers)
	for n := 1; n < layers; n++ {
		number := fmt.Sprint(n)
		upper = append(upper, Files(Directory("deep"), File("deep/"+number, number), File("deep/top", number)))
	}
	return New(name, upper...)
}

func config() ocispec.ImageConfig {
	return ocispec.ImageConfig{
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		Cmd: idle(),
	}
}
