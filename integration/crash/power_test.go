// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A power cut: the file system that the root is on forgets at a moment all that it has not put on disk, and takes nothing any
// more. Then it is mounted again, with a new boot of the machine as the snapshotter sees it.

// disk is a file system in a file.
type disk struct{ kind, image, place string }

// diskSize is enough for xfs, too.
const diskSize = 320 << 20

func newDisk(kind, dir string) (*disk, error) {
	d := &disk{kind: kind, image: dir + ".img", place: dir}
	f, err := os.Create(d.image)
	if err != nil {
		return d, err
	}
	if err := errors.Join(f.Truncate(diskSize), f.Close(), os.MkdirAll(d.place, 0o700)); err != nil {
		return d, err
	}
	return d, errors.Join(run("mkfs."+kind, "-q", d.image), d.mount())
}

func (d *disk) mount() error {
	options := "loop"
	if d.kind == "xfs" {
		options += ",nouuid" // somebody's mount namespace may still keep the one from before
	}
	return run("mount", "-t", d.kind, "-o", options, d.image, d.place)
}

func (d *disk) unmount() error { return run("umount", d.place) }

// cut has the file system forget what is not on disk.
func (d *disk) cut() error {
	const shutdown = 0x8004587D // FS_IOC_SHUTDOWN of ext4 and xfs
	noFlush := uint32(2)        // not even the journal
	f, err := os.Open(d.place)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), shutdown, uintptr(unsafe.Pointer(&noFlush))); errno != 0 {
		return fmt.Errorf("shut down %s: %w", d.place, errno)
	}
	return nil
}

// again mounts what is on the disk now as another one. A mount namespace that was made in the meantime, by whomever, may keep the old
// one mounted, and the kernel would give that back.
func (d *disk) again() error {
	if err := d.unmount(); err != nil {
		return err
	}
	old := d.image
	d.image += ".again"
	return errors.Join(run("cp", "--sparse=always", old, d.image), os.Remove(old), d.mount())
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

// blackout is a power cut some time after the start of the victim.
type blackout struct {
	kind  string
	after time.Duration
	disk  *disk
}

func (b blackout) String() string          { return fmt.Sprintf("power %s %v", b.kind, b.after) }
func (b blackout) prepare(*exec.Cmd) error { return nil }

func (b blackout) strike(l *life) error {
	select {
	case <-l.over:
		return b.disk.cut()
	case <-time.After(b.after):
	}
	// The victim dies first: what it does after the cut would be done on a machine that is off.
	_ = l.cmd.Process.Signal(unix.SIGSTOP) // it may be dead already
	err := b.disk.cut()
	_ = l.cmd.Process.Kill()
	return err
}

// powerCuts cuts the power at random moments, on each file system that can be made here. Not at once: a victim's mount namespace
// would keep the file systems of the others.
func (m *matrix) powerCuts(t *testing.T, cuts int) {
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			if _, err := exec.LookPath("mkfs." + kind); err != nil {
				missing(t, err)
			}
			began := time.Now()
			m.cut(t, blackout{kind: kind, after: time.Hour}) // when all is done
			duration := time.Since(began)
			for range cuts {
				m.cut(t, blackout{kind: kind, after: time.Duration(m.chance.Int64N(int64(duration))).Round(100 * time.Microsecond)})
			}
		})
	}
}

// cut has the power go, and the next victim go on from what is on disk.
func (m *matrix) cut(t *testing.T, b blackout) {
	dir := m.root()
	d, err := newDisk(b.kind, dir)
	if err != nil {
		t.Errorf("make a file system: %v", err)
		return
	}
	b.disk = d
	defer func() {
		if err := d.unmount(); err != nil {
			t.Errorf("%v: %v", b, err)
		}
	}()
	first, err := m.boot(d, dir+".1", 0, 0, b)
	if err == nil {
		err = d.again()
	}
	if err != nil {
		t.Errorf("%v: %v", b, err)
		return
	}
	m.count("power " + d.kind)
	next := first.next()
	from := unsettled(m.reference.steps, next)
	l, err := m.boot(d, dir+".2", from, next+2, old{}, func(l *life) { l.until = next })
	if err != nil {
		t.Errorf("%v: %v", b, err)
		return
	}
	if m.verdict(t, l, []death{b}, m.reference.judge(l)) {
		if err := errors.Join(os.Remove(d.image), m.cleanUp(dir+".1"), m.cleanUp(dir+".2")); err != nil {
			t.Error(err)
		}
	}
}

// boot has a victim live in a boot of the machine of its own.
func (m *matrix) boot(d *disk, name string, from, look int, by death, prepare ...func(*life)) (*life, error) {
	if err := os.WriteFile(name, []byte(filepath.Base(name)+"\n"), 0o600); err != nil {
		return nil, err
	}
	o := order{Root: filepath.Join(d.place, "root"), Log: name + ".log", From: from, Look: look, Boot: name}
	return live(o, by, prepare...)
}

// unsettled returns the step to go on with after a power cut: layers that were not yet on disk have to be pulled again.
func unsettled(steps []step, next int) int {
	for next > 0 && next < len(steps) && steps[next].pulls && steps[next-1].pulls {
		next--
	}
	return next
}

// missing skips a test for what is not installed.
func missing(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("MOLT_TEST_STRICT") != "" {
		t.Fatal(err)
	}
	t.Skip(err)
}
