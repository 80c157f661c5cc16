// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The kinds of entry in the log of blocklog, see there.
const (
	wrote  = 'W'
	zeroed = 'Z'
	flush  = 'F'
	marked = 'M'
)

// entry is something that happened to a disk, or a report of the victim, in the one order of both.
type entry struct {
	kind           byte
	offset, length int64
	data           []byte
	report         report // of a mark
}

// recording is the life of a victim on a disk that remembers all that was written to it.
type recording struct {
	kind    string // of the file system
	entries []entry
	first   int // the index of the victim's first report
}

// record has a victim live on a file system of a kind, on a disk that blocklog serves.
func (m *matrix) record(t *testing.T, kind string) *recording {
	t.Helper()
	dir := m.root()
	for _, sub := range []string{dir, dir + "/fuse", dir + "/disk"} {
		must(t, os.Mkdir(sub, 0o700))
	}
	program := filepath.Join(dir, "blocklog")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = "blocklog"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build blocklog: %v: %s", err, out)
	}
	stop := serve(t, program, dir+"/fuse", dir+"/back", fmt.Sprint(diskSize), dir+"/log")
	l, err := onServedDisk(kind, dir, func() (*life, error) {
		return live(order{Root: dir + "/disk/root", Log: dir + "/victim.log", Boot: dir + "/boot", Marks: dir + "/fuse/mark"}, old{})
	})
	must(t, errors.Join(err, stop()))
	if faults := m.reference.judge(l); len(faults) > 0 {
		t.Fatalf("a life on %s: %s", kind, strings.Join(faults, "\n"))
	}
	r := &recording{kind: kind}
	must(t, r.read(dir+"/log"))
	must(t, os.RemoveAll(dir))
	return r
}

// onServedDisk calls fn while a new file system is mounted on the disk that is served.
func onServedDisk(kind, dir string, fn func() (*life, error)) (l *life, err error) {
	out, err := exec.Command("losetup", "--find", "--show", dir+"/fuse/disk").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("losetup: %w: %s", err, out)
	}
	device := strings.TrimSpace(string(out))
	defer func() { err = errors.Join(err, run("losetup", "--detach", device)) }()
	err = errors.Join(run("mkfs."+kind, "-q", device), os.WriteFile(dir+"/boot", []byte("first\n"), 0o600))
	if err == nil {
		err = run("mount", "-t", kind, device, dir+"/disk")
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, run("umount", dir+"/disk")) }()
	return fn()
}

// serve starts blocklog and returns what ends it, after which its log is whole.
func serve(t *testing.T, program string, args ...string) (stop func() error) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("blocklog says %q: %v, %v", line, err, errors.Join(in.Close(), cmd.Wait()))
	}
	return func() error { return errors.Join(in.Close(), cmd.Wait()) }
}

func (r *recording) read(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	r.first = -1
	for {
		var head [17]byte
		if _, err := io.ReadFull(in, head[:]); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		e := entry{kind: head[0], offset: int64(binary.BigEndian.Uint64(head[1:])), length: int64(binary.BigEndian.Uint64(head[9:]))}
		if e.kind == wrote || e.kind == marked {
			e.data = make([]byte, e.length)
			if _, err := io.ReadFull(in, e.data); err != nil {
				return err
			}
		}
		if e.kind == marked {
			if err := json.Unmarshal(e.data, &e.report); err != nil {
				return err
			}
			if r.first < 0 {
				r.first = len(r.entries)
			}
		}
		r.entries = append(r.entries, e)
	}
	if r.first < 0 {
		return fmt.Errorf("the log of %s has no mark", r.kind)
	}
	return nil
}

// next returns the first step that was not acknowledged before an entry.
func (r *recording) next(before int) (next int) {
	for _, e := range r.entries[:before] {
		if e.kind == marked && e.report.Kind == done {
			next = e.report.Step + 1
		}
	}
	return next
}
