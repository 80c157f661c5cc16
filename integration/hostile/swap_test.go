// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSwap exchanges directories and files with links to the outside, back and forth, while a storage is serviced: whatever
// comes of it, an error or a plan of something that never was, nobody goes outside.
func TestSwap(t *testing.T) {
	c := newCanary(t)
	rounds := 40
	if full() {
		rounds = 1000
	}
	for _, at := range []string{"etc", "etc/passwd", "var/lib/dpkg", "var/lib/dpkg/info", "var/lib/dpkg/status", "lib/apk/db", "into/etc"} {
		t.Run(at, func(t *testing.T) {
			c.t = t
			s := newStage(t, tmpfs(t))
			for side, root := range s.sides() {
				build(t, root, side)
			}
			place, outside := filepath.Join(s.user, at), filepath.Join(c.dir, at)
			if at == "into/etc" {
				place, outside = s.into+"/etc", c.dir+"/etc"
			}
			if _, err := os.Lstat(outside); errors.Is(err, fs.ErrNotExist) {
				outside = c.dir
			}
			evil := filepath.Join(filepath.Dir(s.into), "evil")
			link(t, outside, evil)
			stop := exchange(t, place, evil)
			for range rounds {
				got := s.service()
				hides(t, "the report", got.Report)
				if at != "into/etc" {
					hidesBelow(t, s.into)
					check(t, errors.Join(os.RemoveAll(s.into), os.Mkdir(s.into, 0o755)))
					continue
				}
				for _, name := range []string{s.into, evil} {
					_ = os.RemoveAll(name) // what stands where is not known; a link that is left serves the next round
				}
				check(t, os.MkdirAll(s.into, 0o755))
				_ = os.Symlink(outside, evil)
			}
			stop()
			c.unharmed()
		})
	}
}

// exchange exchanges two names until the function that it returns is called.
func exchange(t *testing.T, a, b string) func() {
	t.Helper()
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			// One of them may not be there yet.
			err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
			if err != nil && !errors.Is(err, unix.ENOENT) {
				t.Errorf("exchange: %v", err)
				return
			}
		}
	})
	var once sync.Once
	end := func() { once.Do(func() { close(stop); group.Wait() }) }
	t.Cleanup(end)
	return end
}
