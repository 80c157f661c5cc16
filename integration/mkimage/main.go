// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Command mkimage makes a container image out of directories, one layer each, for scripts that cannot or
// should not pull from a registry:
//
//	mkimage -name molt.test/app:1 -layer ./app -layer ./config >app.tar
//	ctr images import app.tar
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/molt-snapshotter/molt-snapshotter/integration/image"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintf(os.Stderr, "mkimage: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string, w io.Writer) error {
	img, err := parse(args)
	if err != nil {
		return err
	}
	_, err = img.WriteTar(w)
	return err
}

// parse turns the command line into an image.
func parse(args []string) (image.Image, error) {
	flags := flag.NewFlagSet("mkimage", flag.ContinueOnError)
	name := flags.String("name", "", "full reference of the image, such as molt.test/app:1 (required)")
	bare := flags.Bool("bare", false, "no busybox below the given layers: they bring their own userland")
	command := flags.String("command", "", "shell command that containers run (default: they idle)")
	var layers []image.Layer
	flags.Func("layer", "directory that becomes the next layer, from the bottom up (repeatable)",
		func(dir string) error {
			info, err := os.Stat(dir)
			if err != nil {
				return err
			}
			if !info.IsDir() {
				return fmt.Errorf("%s is not a directory", dir)
			}
			layers = append(layers, image.Tree(dir))
			return nil
		})
	if err := flags.Parse(args); err != nil {
		return image.Image{}, err
	}
	if *name == "" || flags.NArg() > 0 {
		return image.Image{}, errors.New("-name is required, and nothing but flags is understood")
	}
	if *bare && len(layers) == 0 {
		return image.Image{}, errors.New("-bare leaves an image without any layer")
	}
	img := image.Bare(*name, layers...)
	if !*bare {
		var err error
		if img, err = image.New(*name, layers...); err != nil {
			return image.Image{}, err
		}
	}
	if *command != "" {
		img.Config.Cmd = []string{"sh", "-c", *command}
	}
	return img, nil
}
