// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// pen writes a tree as an unpacking or a container does. It remembers the first error and does nothing after it. Whatever it
// writes it writes again, so that a tree that was half written before becomes the same one.
type pen struct {
	dir string
	err error
}

func (p *pen) do(path string, fn func(full string) error) {
	if p.err == nil {
		p.err = fn(filepath.Join(p.dir, path))
	}
}

func (p *pen) mkdir(path string) {
	p.do(path, func(full string) error { return os.MkdirAll(full, 0o755) })
}

// fresh calls fn with a path where nothing is, in a directory that is there.
func (p *pen) fresh(path string, fn func(full string) error) {
	p.mkdir(filepath.Dir(path))
	p.remove(path)
	p.do(path, fn)
}

func (p *pen) remove(path string) { p.do(path, os.RemoveAll) }

func (p *pen) file(path, content string) {
	p.fresh(path, func(full string) error { return os.WriteFile(full, []byte(content), 0o644) })
}

// owned gives a path an owner, a mode and an attribute that none has by default.
func (p *pen) owned(path string) {
	p.do(path, func(full string) error {
		if err := os.Chown(full, 1000, 100); err != nil {
			return err
		}
		if err := os.Chmod(full, 0o750|fs.ModeSetgid); err != nil {
			return err
		}
		return unix.Setxattr(full, "user.mark", []byte(path), 0)
	})
}

func (p *pen) link(path, target string) {
	p.fresh(path, func(full string) error { return os.Link(filepath.Join(p.dir, target), full) })
}

func (p *pen) symlink(path, target string) {
	p.fresh(path, func(full string) error { return os.Symlink(target, full) })
}

func (p *pen) special(path string, mode uint32, device int) {
	p.fresh(path, func(full string) error { return unix.Mknod(full, mode, device) })
}

// cutoff parts times that a tree has from times at which something was done to it.
func cutoff() time.Time { return time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC) }

// settle gives everything that was touched just now one fixed time.
func (p *pen) settle() {
	p.do(".", func(full string) error {
		then := cutoff().Add(-time.Hour)
		var touched []string
		err := filepath.WalkDir(full, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err == nil && info.ModTime().After(cutoff()) {
				touched = append(touched, path)
			}
			return err
		})
		if err != nil {
			return err
		}
		stamp := unix.NsecToTimespec(then.UnixNano())
		for _, path := range touched {
			if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{stamp, stamp}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return err
			}
		}
		return nil
	})
}

// blob is content of some size which compresses badly enough to be told apart.
func blob(seed string, size int) string {
	return string(bytes.Repeat([]byte(seed+"\n"), size/(len(seed)+1)))
}

const passwd = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/false\n"

// image writes a version of the image that the storages stand on. Versions differ in files that containers change, too.
func image(p *pen, version string) {
	p.file("version", version)
	p.file("etc/conf", "a = 1\n\nb = 1\n\nc = "+version+"\n")
	p.file("etc/passwd", passwd+"svc"+version+":x:"+version+"00:100::/:/bin/false\n")
	p.file("etc/group", "root:x:0:\nusers:x:100:\n")
	p.file("usr/lib/library", blob("library "+version, 100_000))
	p.file("usr/share/doc/readme", "read me "+version)
	p.file("usr/share/doc/only"+version, version)
	p.file("srv/one", "linked")
	p.link("srv/two", "srv/one")
	p.symlink("usr/lib/current", "library")
	p.special("dev/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))
	p.special("run/pipe", unix.S_IFIFO|0o600, 0)
	p.owned("usr/share/doc")
	if version != "1" {
		p.remove("usr/share/doc/only1") // which is deleted where this stands on version 1
	}
}

// customise writes what the container of a storage writes before its first update.
func customise(p *pen, storage string) {
	p.file("own/data", blob("data of "+storage, 50_000))
	p.file("own/deep/er/file", storage)
	p.link("own/again", "own/data")
	p.symlink("own/conf", "/etc/conf")
	p.special("own/pipe", unix.S_IFIFO|0o644, 0)
	p.owned("own/deep")
	p.file("etc/conf", "a = "+storage+"\n\nb = 1\n\nc = 1\n")
	p.file("etc/passwd", passwd+"svc1:x:100:100::/:/bin/false\n"+storage+":x:1001:100::/:/bin/sh\n")
	p.remove("usr/share/doc/readme")
	p.remove("srv") // and made again over the old one
	p.file("srv/mine", storage)
	p.settle()
}

// goOn writes what the container of a storage writes later on.
func goOn(p *pen, storage, when string) {
	p.file("own/"+when, storage+" "+when)
	p.file("own/deep/er/file", when)
	p.remove("own/pipe")
	p.file("usr/share/doc/mine", when)
	p.settle()
}
