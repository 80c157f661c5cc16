// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// order is what a victim is told to do.
type order struct {
	Root string
	// Log is where its log goes; beside the root if empty.
	Log string `json:",omitempty"`
	// From is the first step that it takes.
	From int
	// Look has it tell the state at its start, after each step before this one, and at its end.
	Look int `json:",omitempty"`
	// Retries is how often it tries a step again that fails.
	Retries int
	// Boot is a file that names the boot of the machine, instead of the kernel's own.
	Boot string `json:",omitempty"`
	// Marks is a file that takes its reports as well, in one order with what is written to the disk that it lives on.
	Marks string `json:",omitempty"`
}

// The kinds of report.
const (
	opened     = "opened"  // the snapshotter is open
	began      = "began"   // a step begins
	failed     = "failed"  // a step, or the opening (-1), failed
	done       = "done"    // a step is done
	treeReport = "tree"    // a tree that was not told before
	wrong      = "wrong"   // what is wrong once all is done
	finally    = "finally" // the end
)

// report is what a victim says. Its reports are written one by one, so that none is lost when it dies.
type report struct {
	Kind  string
	Step  int
	State sight               `json:",omitempty"`
	Kept  map[string][]string `json:",omitempty"` // the trees that storages can return to
	Text  string              `json:",omitempty"`
	Tree  string              `json:",omitempty"`
}

// victim is the process that dies. It is the test binary itself.
type victim struct {
	order
	world *world
	out   *os.File
	marks *os.File // nil for none
	told  map[string]bool
}

// reportsFD is where the victim writes its reports.
const reportsFD = 3

// leaveOthers unmounts the overlays of others, which this mount namespace has copies of: they would count as in use for as long as
// it is there.
func leaveOthers() error {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("overlay"))
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if m.Mountpoint == "/" {
			continue
		}
		if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount %s: %w", m.Mountpoint, err)
		}
	}
	return nil
}

// beVictim carries out an order. Reports tell how it went; an error is one of the test itself.
func beVictim(text string) error {
	v := victim{out: os.NewFile(reportsFD, "reports"), told: map[string]bool{}}
	if err := json.Unmarshal([]byte(text), &v.order); err != nil {
		return err
	}
	if err := leaveOthers(); err != nil {
		return err
	}
	if v.Boot != "" {
		if err := unix.Mount(v.Boot, "/proc/sys/kernel/random/boot_id", "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("hide the boot id: %w", err)
		}
	}
	if v.Marks != "" {
		var err error
		if v.marks, err = os.OpenFile(v.Marks, os.O_WRONLY, 0); err != nil {
			return err
		}
	}
	ctx := context.Background()
	if err := v.open(); err != nil {
		return err
	}
	if v.world == nil {
		return nil
	}
	if err := v.look(ctx, opened, v.From); err != nil {
		return err
	}
	steps := script()
	for k := v.From; k < len(steps); k++ {
		if ok, err := v.take(ctx, k, steps[k]); !ok || err != nil {
			return err
		}
	}
	return v.end(ctx, len(steps))
}

// open opens the snapshotter, as often as it is told to try. It leaves none when that fails.
func (v *victim) open() (err error) {
	for try := 0; ; try++ {
		var w *world
		if w, err = open(v.Root); err == nil {
			v.world = w
			return nil
		}
		if err := v.say(report{Kind: failed, Step: -1, Text: err.Error()}); err != nil || try == v.Retries {
			return err
		}
	}
}

// take takes a step, as often as it is told to try.
func (v *victim) take(ctx context.Context, k int, s step) (ok bool, err error) {
	if err := v.say(report{Kind: began, Step: k}); err != nil {
		return false, err
	}
	for try := 0; ; try++ {
		err := s.do(ctx, v.world)
		if err == nil {
			return true, v.look(ctx, done, k)
		}
		if err := v.lookAfter(ctx, k, err); err != nil || try == v.Retries {
			return false, err
		}
		if err := v.startAgain(); err != nil || v.world == nil {
			return false, err // it could not be started again, which its reports say
		}
	}
}

// startAgain does what the daemon does when no change can be made any longer: it ends, and is started again.
func (v *victim) startAgain() error {
	if v.world.Snapshotter == nil {
		v.world = nil
		return v.open()
	}
	select {
	case <-v.world.State().Failed():
	default:
		return nil
	}
	if err := v.world.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	v.world = nil
	return v.open()
}

func (v *victim) lookAfter(ctx context.Context, k int, failure error) error {
	r := report{Kind: failed, Step: k, Text: failure.Error()}
	if v.Look > 0 && v.world.Snapshotter != nil { // none where a step started it again and that failed
		var err error
		if r.State, r.Kept, err = v.seen(ctx); err != nil {
			return err
		}
	}
	return v.say(r)
}

func (v *victim) look(ctx context.Context, kind string, k int) (err error) {
	r := report{Kind: kind, Step: k}
	if v.Look > k || v.Look > 0 && k == len(script())-1 {
		if r.State, r.Kept, err = v.seen(ctx); err != nil {
			return err
		}
	}
	return v.say(r)
}

// seen looks at the state and tells the trees that are new.
func (v *victim) seen(ctx context.Context) (sight, map[string][]string, error) {
	now, kept, err := v.world.look(ctx)
	if err != nil {
		return nil, nil, err
	}
	for tree, text := range v.world.trees {
		if v.told[tree] {
			continue
		}
		v.told[tree] = true
		if err := v.say(report{Kind: treeReport, Tree: tree, Text: text}); err != nil {
			return nil, nil, err
		}
	}
	return now, kept, nil
}

// end closes the snapshotter after a look at whether all is as it should be.
func (v *victim) end(ctx context.Context, k int) error {
	if v.Look > 0 {
		problems, err := v.world.problems(ctx)
		if err != nil {
			problems = append(problems, err.Error())
		}
		for _, p := range problems {
			if err := v.say(report{Kind: wrong, Step: k, Text: p}); err != nil {
				return err
			}
		}
	}
	if err := v.world.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return v.say(report{Kind: finally, Step: k})
}

func (v *victim) say(r report) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if v.marks != nil {
		if _, err := v.marks.Write(data); err != nil {
			return err
		}
	}
	_, err = v.out.Write(append(data, '\n'))
	return err
}
