// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// Other power cuts: all that was written to a disk is replayed up to a point, and of what was not yet flushed there, any part
// is lost. A file system that is shut down loses less than a disk may: here the order of writes is lost, too.

// sector is what a disk writes as a whole.
const sector = 512

// cutOff is a moment at which the power goes, and how much is lost of what was not flushed: nothing, all, or a random part.
type cutOff struct {
	kind  string
	point int // how many entries of the log there are
	lost  float64
}

func (c cutOff) String() string {
	return fmt.Sprintf("replay %s up to %d without %.0f%% of what was not flushed", c.kind, c.point, 100*c.lost)
}
func (c cutOff) prepare(*exec.Cmd) error { return nil }
func (c cutOff) strike(*life) error      { return nil }

// replays cuts the power at points of a recorded life: right behind what was acknowledged, right before what was flushed, and at
// random ones.
func (m *matrix) replays(t *testing.T, points int) {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip(err) // not every kernel has it, and no package brings it
	}
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			if _, err := exec.LookPath("mkfs." + kind); err != nil {
				missing(t, err)
			}
			r := m.record(t, kind)
			place := m.root()
			must(t, os.Mkdir(place, 0o700))
			stable, upTo := place+"/stable", 0
			must(t, os.WriteFile(stable, nil, 0o600))
			must(t, os.Truncate(stable, diskSize))
			for _, c := range m.cutOffs(r, points) {
				flushed := r.flushed(c.point)
				must(t, onto(stable, r.entries[upTo:flushed], all))
				upTo = flushed
				m.replay(t, r, c, stable)
			}
			if !t.Failed() {
				must(t, os.RemoveAll(place))
			}
		})
	}
}

// cutOffs returns moments in their order.
func (m *matrix) cutOffs(r *recording, number int) (cuts []cutOff) {
	var acknowledged, unflushed []int
	for i, e := range r.entries {
		switch {
		case e.kind == marked && e.report.Kind == done:
			acknowledged = append(acknowledged, i+1)
		case e.kind == flush && i > r.first:
			unflushed = append(unflushed, i)
		}
	}
	for range number {
		c := cutOff{kind: r.kind, lost: []float64{0, 0.5, 1}[m.chance.IntN(3)]}
		switch m.chance.IntN(3) {
		case 0:
			c.point = acknowledged[m.chance.IntN(len(acknowledged))]
		case 1:
			c.point = unflushed[m.chance.IntN(len(unflushed))]
		default:
			c.point = r.first + m.chance.IntN(len(r.entries)-r.first)
		}
		cuts = append(cuts, c)
	}
	slices.SortFunc(cuts, func(a, b cutOff) int { return a.point - b.point })
	return cuts
}

// flushed returns how many entries are certainly on the disk when so many were made.
func (r *recording) flushed(point int) int {
	for ; point > 0; point-- {
		if r.entries[point-1].kind == flush {
			return point
		}
	}
	return 0
}

// replay makes the disk as it is after a power cut, and has a victim go on from there.
func (m *matrix) replay(t *testing.T, r *recording, c cutOff, stable string) {
	place := m.root()
	d := &disk{kind: c.kind, image: place + ".img", place: place}
	kept := func() bool { return m.chance.Float64() >= c.lost }
	if c.lost == 0 {
		kept = all
	}
	err := errors.Join(os.Mkdir(place, 0o700), run("cp", "--sparse=always", stable, d.image))
	if err == nil {
		err = errors.Join(onto(d.image, r.entries[r.flushed(c.point):c.point], kept), d.mount())
	}
	if err != nil {
		t.Errorf("%v: %v", c, err)
		return
	}
	next := r.next(c.point)
	l, err := m.boot(d, place+".2", unsettled(m.reference.steps, next), next+2, old{}, func(l *life) { l.until = next })
	if err != nil {
		t.Errorf("%v: %v, %v", c, err, d.unmount())
		return
	}
	m.count("replayed " + c.kind)
	good := m.verdict(t, l, []death{c}, m.reference.judge(l))
	err = d.unmount()
	if good {
		err = errors.Join(err, os.Remove(d.image), m.cleanUp(place), m.cleanUp(place+".2"))
	}
	if err != nil {
		t.Errorf("%v: %v", c, err)
	}
}

func all() bool { return true }

// onto carries out on an image what was done to a disk, sector by sector, but for the sectors that were lost.
func onto(image string, entries []entry, kept func() bool) error {
	f, err := os.OpenFile(image, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.kind != wrote && e.kind != zeroed {
			continue
		}
		for at := int64(0); at < e.length; at += sector {
			size := min(sector, e.length-at)
			switch {
			case !kept():
			case e.kind == wrote:
				_, err = f.WriteAt(e.data[at:at+size], e.offset+at)
			default:
				err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, e.offset+at, size)
			}
			if err != nil {
				return errors.Join(err, f.Close())
			}
		}
	}
	return f.Close()
}
