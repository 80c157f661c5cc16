// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Pin keeps a path the user's, whatever the base does: what the user sees there is kept, from the old base as well, and what
// the new base has there and the user does not, stays away.
type Pin struct {
	// Path is relative to the root, with or without a leading slash. It stands for itself and everything below; with a
	// pattern (*, ?, [...], which match within a name) for what matches and everything below. A pattern without any slash
	// matches names in every directory; with a slash at its end a path stands only for what is below.
	Path string `json:"path" toml:"path"`
	// Reason is for people.
	Reason string `json:"reason,omitempty" toml:"reason,omitempty"`
	// Expires ends the pin; the zero time never does.
	Expires time.Time `json:"expires,omitzero" toml:"expires,omitzero"`
}

// PinReport tells of a pin.
type PinReport struct {
	Pin
	Expired bool `json:"expired,omitempty"` // it was ignored
	// Doubted pins are over by the clock of the machine, which is not believed yet: they were kept.
	Doubted bool `json:"doubted,omitempty"`
	// Kept counts the paths at which the new base shows something else.
	Kept int `json:"kept"`
}

// checkSelector tells what is wrong with the path of a pin.
func checkSelector(text string) error {
	clean := strings.Trim(text, "/")
	switch {
	case strings.Trim(clean, ".") == "":
		return errors.New("it stands for the whole root; name a path below it")
	case slices.Contains(strings.Split(clean, "/"), ".."), path.Clean(clean) != clean:
		return errors.New("empty names, . and .. are not allowed in it")
	}
	if _, err := path.Match(clean, ""); err != nil {
		return fmt.Errorf("%w: allowed are *, ? and [...], and \\ before a character that is meant itself", err)
	}
	return nil
}

// selector is the path of a pin, taken apart.
type selector struct {
	names    []string // patterns; one that matches in every directory stands alone
	anywhere bool
	below    bool // not the path itself
}

func newSelector(text string) selector {
	clean := strings.Trim(text, "/")
	return selector{
		names:    strings.Split(clean, "/"),
		anywhere: !strings.Contains(text, "/") && strings.ContainsAny(text, "*?["),
		below:    strings.HasSuffix(text, "/"),
	}
}

// has tells whether the selector stands for a path.
func (s selector) has(p string) bool {
	names := strings.Split(p, "/")
	if s.anywhere {
		return slices.ContainsFunc(names, func(name string) bool { return matchName(s.names[0], name) })
	}
	return len(names) >= len(s.names) && (!s.below || len(names) > len(s.names)) && s.agrees(names)
}

// leadsTo tells whether something that the selector stands for may be below a directory.
func (s selector) leadsTo(dir string) bool {
	return dir == "." || s.anywhere || s.agrees(strings.Split(dir, "/"))
}

// agrees tells whether the names match as far as there are any.
func (s selector) agrees(names []string) bool {
	for i := range min(len(names), len(s.names)) {
		if !matchName(s.names[i], names[i]) {
			return false
		}
	}
	return true
}

func matchName(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}

// pin is one that counts.
type pin struct {
	selector
	reason  string
	doubted bool
	report  int // its place in the report
}

// pins are the pins and excluded paths of a plan.
type pins struct {
	active   []pin
	excluded []selector
	report   []PinReport
	fixed    map[string]outcome // what is pinned, by path in the result
	passed   passed             // what a look passes over
}

func newPins(o Options) *pins {
	s := &pins{fixed: make(map[string]outcome), passed: make(passed)}
	for _, p := range o.Pins {
		r := PinReport{Pin: p}
		r.Expired = !p.Expires.IsZero() && !o.Now.IsZero() && !o.Now.Before(p.Expires)
		r.Doubted = !r.Expired && !p.Expires.IsZero() && !o.Wall.IsZero() && !o.Wall.Before(p.Expires)
		s.report = append(s.report, r)
		if !r.Expired {
			s.active = append(s.active, pin{newSelector(p.Path), p.Reason, r.Doubted, len(s.report) - 1})
		}
	}
	for _, p := range o.Exclude {
		s.excluded = append(s.excluded, newSelector(p))
	}
	return s
}

// of returns the pin of a path; nil when there is none.
func (s *pins) of(p string) *pin {
	i := slices.IndexFunc(s.active, func(one pin) bool { return one.has(p) })
	if i < 0 {
		return nil
	}
	return &s.active[i]
}

// excludes tells whether a path is not to be looked at.
func (s *pins) excludes(p string) bool {
	return s.passed.has(p) || slices.ContainsFunc(s.excluded, func(one selector) bool { return one.has(p) })
}

// decided tells whether the walk has nothing to decide about a path.
func (s *pins) decided(t three) bool {
	_, fixed := s.fixed[t.path]
	return fixed || s.excludes(t.was) || s.excludes(t.path)
}

// fixPins decides on what is pinned, before anything else is decided.
func (p *planner) fixPins(ctx context.Context) error {
	if len(p.pins.active) == 0 {
		return nil
	}
	paths := make(map[string]bool)
	for _, view := range []*tree.View{p.user, p.new} {
		err := view.Tree(ctx, func(e tree.Entry) error {
			if p.pins.of(e.Path) != nil && !p.pins.excludes(e.Path) {
				paths[e.Path] = true
			}
			leads := func(one pin) bool { return one.leadsTo(e.Path) }
			if e.Kind == tree.Directory && !slices.ContainsFunc(p.pins.active, leads) {
				return fs.SkipDir
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("look for what is pinned: %w", err)
		}
	}
	for _, name := range slices.SortedFunc(maps.Keys(paths), comparePaths) {
		if err := p.fixPin(name); err != nil {
			return err
		}
	}
	return nil
}

// fixPin decides on a pinned path.
func (p *planner) fixPin(was string) error {
	one := p.pins.of(was)
	to, ok, err := p.destination(was)
	if err != nil {
		return err
	}
	if !ok {
		p.hold(HoldPin, was, fmt.Sprintf("/%s is pinned (%s), but the new base has no directory for it", was, one.reason))
		return nil
	}
	t, err := p.moved(was, to)
	if err != nil {
		return err
	}
	if _, taken := p.pins.fixed[to]; taken {
		if t.u.absent() {
			return nil
		}
		if t.path, err = p.freeName(beside(to, asideSuffix)); err != nil { // another pinned one is where this would go
			return err
		}
	}
	if err := p.own(&t); err != nil {
		return err
	}
	same, err := compare(t)
	if err != nil {
		return err
	}
	d := decision{
		verdict: Keep, rule: "H11", driver: "pins", reason: "pinned", result: shows(t.u),
		quiet: same.nu && (t.u.absent() || sameMeta(t.u.Kind, t.u.Meta, t.n.Meta)),
	}
	if one.reason != "" {
		d.reason += ": " + one.reason
	}
	if one.doubted {
		d.reason += "; the pin is over by the clock of the machine, which is not believed yet"
	}
	if !d.quiet {
		p.pins.report[one.report].Kept++
		if same.ou {
			if err := p.withhold(t); err != nil {
				return err
			}
		}
	}
	if err := p.apply(t, d); err != nil {
		return err
	}
	p.pins.fixed[t.path] = p.counted(t.path, d.result)
	return nil
}

// destination returns where a pinned path is in the result: elsewhere if a directory that it is in, and that is not pinned,
// is a link to another in the new base. It reports false when it cannot be anywhere.
func (p *planner) destination(was string) (string, bool, error) {
	names := strings.Split(was, "/")
	for i := 1; i < len(names); i++ {
		dir := path.Join(names[:i]...)
		if p.pins.of(dir) != nil {
			return was, true, nil
		}
		n, err := lookup(p.new, dir)
		if err != nil {
			return "", false, err
		}
		switch {
		case n.absent():
			return was, true, nil
		case n.is(tree.Symlink):
			target, ok, err := p.linkTarget(dir)
			if err != nil || !ok {
				return "", false, err
			}
			return path.Join(append([]string{target}, names[i:]...)...), true, nil
		case !n.dir():
			return "", false, nil
		}
	}
	return was, true, nil
}

// keepPins undoes what was decided, with other paths, about pinned and excluded ones.
func (p *planner) keepPins() {
	maps.Copy(p.want, p.pins.fixed)
	if len(p.pins.excluded)+len(p.pins.passed) == 0 {
		return
	}
	maps.DeleteFunc(p.want, func(name string, _ outcome) bool { return p.pins.excludes(name) })
	p.findings = slices.DeleteFunc(p.findings, func(f finding) bool { return p.pins.excludes(f.path) })
}
