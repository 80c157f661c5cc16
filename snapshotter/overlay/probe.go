// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/nodes"
)

// wantedOptions keep overlayfs from writing into an upper directory what ties it to one set of lower ones.
var wantedOptions = [...]string{
	"index=off", "metacopy=off", "redirect_dir=nofollow", "xino=off", "nfs_export=off", "uuid=null",
}

// probeOptions returns those of the wanted options that this kernel knows, by mounting an overlay nowhere with each.
// An option that the kernel does not know it cannot switch on by itself either. On a full disk, where nothing can be
// mounted, those that the kernel can read are taken.
func probeOptions(dir *nodes.Dir) ([]string, error) {
	known, err := probeByMounting(dir)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return acceptedOptions(readable)
	}
	return known, err
}

// acceptedOptions returns those of the wanted options with which a try succeeds.
func acceptedOptions(try func(option string) error) (accepted []string, err error) {
	for _, option := range wantedOptions {
		switch err := try(option); {
		case err == nil:
			accepted = append(accepted, option)
		case !unknown(err):
			return nil, err
		}
	}
	return accepted, nil
}

// unknown reports whether an option failed because the kernel does not know it. Whatever else fails says nothing of
// that: one that were left out for want of memory would be on.
func unknown(err error) bool { return errors.Is(err, unix.EINVAL) }

func probeByMounting(in *nodes.Dir) ([]string, error) {
	dir, err := in.Scratch()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := in.Delete(dir); err != nil {
			log.L.WithError(err).WithField("path", dir).
				Warn("failed to remove what overlayfs was tried with; it is deleted with the trash")
		}
	}()
	for _, sub := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, err
		}
	}
	if err := probe(dir); err != nil {
		return nil, fmt.Errorf("overlayfs cannot be used on %s; it needs root and a local file system such as ext4: %w",
			in.Root(), err)
	}
	return acceptedOptions(func(option string) error { return probe(dir, option) })
}

// readable has the kernel read an option, which takes no place on any disk.
func readable(option string) (err error) {
	fsfd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(fsfd)) }()
	return setOption(fsfd, option)
}

func setOption(fsfd int, option string) error {
	key, value, _ := strings.Cut(option, "=")
	return unix.FsconfigSetString(fsfd, key, value)
}

// probe makes an overlay mount that has no place in the tree, and lets it go.
func probe(dir string, options ...string) (err error) {
	fsfd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(fsfd)) }()
	options = append([]string{
		"lowerdir=" + filepath.Join(dir, "lower"), "upperdir=" + filepath.Join(dir, "upper"),
		"workdir=" + filepath.Join(dir, "work"),
	}, options...)
	for _, option := range options {
		if err := setOption(fsfd, option); err != nil {
			return err
		}
	}
	if err := unix.FsconfigCreate(fsfd); err != nil {
		return err
	}
	mfd, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return unix.Close(mfd)
}
