// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package use

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/failpoint"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/nodes"
)

// Kernel asks the kernel whether a directory is the upper one of an overlay, wherever that is mounted. With index=on
// overlayfs refuses an upper directory that another overlay has marked as its own, so a mount with no place in the tree
// is tried.
//
// The mark belongs to one overlay. When two overlays have the same upper directory, it goes with the one that has it:
// "refused" proves a use, "goes through" proves nothing by itself. Bind mounts are not marked.
type Kernel struct {
	dir     *nodes.Dir
	options []string

	mu   sync.Mutex
	able bool
}

// ErrUnable is returned when this kernel, or the file system of the directories, cannot answer.
var ErrUnable = errors.New("overlayfs does not report here whether a directory is in use")

// NewKernel returns what asks the kernel. The options are those of ordinary mounts.
func NewKernel(dir *nodes.Dir, options []string) *Kernel {
	own := slices.DeleteFunc(slices.Clone(options),
		func(option string) bool { return strings.HasPrefix(option, "index=") })
	return &Kernel{dir: dir, options: append(own, "index=on", "volatile")}
}

// Able returns nil when the kernel gives true answers here. It is found out once, by asking about an overlay made for
// that; ErrUnable says that it does not.
func (k *Kernel) Able() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.able {
		return nil
	}
	dir, remove, err := k.dir.StageProbe()
	if err != nil {
		return err
	}
	err = errors.Join(k.try(dir), remove())
	k.able = err == nil
	return err
}

// try asks about an overlay that is there, and then about the same one when it is gone.
func (k *Kernel) try(dir string) error {
	upper := filepath.Join(dir, "fs")
	for _, sub := range []string{"fs", "ordinary", "busy", "free"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			return err
		}
	}
	ordinary, err := mount(k.dir.Empty(), upper, filepath.Join(dir, "ordinary"), "index=off")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnable, err)
	}
	err = k.probe(upper, filepath.Join(dir, "busy"))
	if closed := unix.Close(ordinary); closed != nil {
		return closed
	}
	if err == nil {
		return fmt.Errorf("%w: it mounts one directory twice", ErrUnable)
	}
	if !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%w: a second mount of one directory is refused for another reason: %w", ErrUnable, err)
	}
	if err := k.probe(upper, filepath.Join(dir, "free")); err != nil {
		return fmt.Errorf("%w: %w", ErrUnable, err)
	}
	return nil
}

// Ask reports whether the kernel refuses the upper directory of an overlay because another one has it. The caller sees
// to it that nobody mounts it in the meantime. What overlayfs leaves in the directory is stripped; a crash before that
// leaves attributes there that no mount of ours heeds, and that the next call strips.
func (k *Kernel) Ask(upper string) (busy bool, err error) {
	if err := k.Able(); err != nil {
		return false, err
	}
	before, err := overlayAttributes(upper)
	if err != nil {
		return false, err
	}
	for range 2 {
		if busy, err = k.ask(upper); busy {
			return true, nil
		}
		failpoint.UseAsked.Hit()
		if stripped := strip(upper, before); stripped != nil {
			return false, errors.Join(err, stripped)
		}
		if !errors.Is(err, unix.ESTALE) { // the directory has the mark of another lower one
			break
		}
	}
	if err != nil {
		return false, fmt.Errorf("ask the kernel: %w", err)
	}
	return false, nil
}

func (k *Kernel) ask(upper string) (busy bool, err error) {
	dir, remove, err := k.dir.StageProbe()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	err = k.probe(upper, dir)
	return errors.Is(err, unix.EBUSY), err
}

func (k *Kernel) probe(upper, work string) error {
	fd, err := mount(k.dir.Empty(), upper, work, k.options...)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// mount makes an overlay that has no place in the tree, and ends when the descriptor is closed.
func mount(lower, upper, work string, options ...string) (fd int, err error) {
	fsfd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer func() { err = errors.Join(err, unix.Close(fsfd)) }()
	for _, option := range append([]string{"lowerdir=" + lower, "upperdir=" + upper, "workdir=" + work}, options...) {
		key, value, valued := strings.Cut(option, "=")
		set := unix.FsconfigSetFlag(fsfd, key)
		if valued {
			set = unix.FsconfigSetString(fsfd, key, value)
		}
		if set != nil {
			return -1, fmt.Errorf("option %s: %w", option, set)
		}
	}
	if err := unix.FsconfigCreate(fsfd); err != nil {
		return -1, err
	}
	return unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, 0)
}

const overlayPrefix = "trusted.overlay."

func overlayAttributes(dir string) (attrs []string, err error) {
	buf := make([]byte, 64<<10) // the most that the kernel returns
	n, err := unix.Llistxattr(dir, buf)
	if err != nil {
		return nil, fmt.Errorf("list the attributes of %s: %w", dir, err)
	}
	for attr := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if strings.HasPrefix(attr, overlayPrefix) {
			attrs = append(attrs, attr)
		}
	}
	return attrs, nil
}

// strip removes what a probe left in a directory. An open node has no origin and no uuid of its own; others stay if
// they were there.
func strip(dir string, before []string) error {
	after, err := overlayAttributes(dir)
	if err != nil {
		return err
	}
	for _, attr := range after {
		mark := attr == overlayPrefix+"origin" || attr == overlayPrefix+"uuid"
		if !mark && slices.Contains(before, attr) {
			continue
		}
		if err := unix.Lremovexattr(dir, attr); err != nil && !errors.Is(err, unix.ENODATA) {
			return fmt.Errorf("strip %s from %s: %w", attr, dir, err)
		}
	}
	return nil
}
