// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/ids"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// planner decides path by path what shall be seen.
type planner struct {
	*sides.Views
	options  policy.Options
	waiting  []report.Waiting // what waits since the servicing that put the storage on the old base
	drivers  []driver
	packages *pkg.Packages
	pins     *pins
	want     map[string]sides.Outcome // the decided paths; all others show what they would show without side effects
	findings []finding
	holds    []report.Reason
	remaps   []report.IDRemap
	quiet    map[report.Verdict]int // decisions of which there is nothing to tell

	touched  bool              // the storage says something
	detours  []*detour         // what the walk is inside of, the innermost last
	orphans  []sides.Three     // directories of the storage that the new base does not have any more
	hidden   map[string]bool   // directories of the storage with whiteouts
	byteCode []movedPath       // what Python compiled
	owners   ids.Owners        // of the storage's files
	known    ids.Owners        // those that the numbering was decided with
	ids      *ids.Numbering    // of the result
	again    bool              // the plan is to be made again, with the owners that it has found
	groups   map[fileID][]link // the storage's files with several names

	databases map[string]bool   // directories of databases whose data the user changed
	dataRoots map[string]string // by directory, that of the database that it belongs to

	attrs attributes // what is held of them

	withheld []report.Withheld
	diverted *diversions // nil as long as nobody asked

	arrived map[string][]string // by directory, the directories in it that are new in the base
}

// finding is a decision about a path.
type finding struct {
	sides.Three
	decision
}

// fileID tells files from one another whatever their names are.
type fileID struct{ dev, ino uint64 }

// link is a name of a file with several names.
type link struct {
	was, path string // in the storage and in the result
	own       bool   // neither base has something there
}

func newPlanner(v *sides.Views, in Input) *planner {
	o := in.Options
	return &planner{
		Views:   v,
		options: o,
		waiting: in.Waiting,
		pins:    newPins(o),
		drivers: drivers(),
		want:    make(map[string]sides.Outcome),
		quiet:   make(map[report.Verdict]int),
		hidden:  make(map[string]bool),
		owners:  ids.NewOwners(),
		known:   ids.NewOwners(),
		ids:     &ids.Numbering{AccountFiles: &ids.AccountFiles{}, ByFile: true, Old: v.Old},
		groups:  make(map[fileID][]link),

		databases: make(map[string]bool),
		dataRoots: make(map[string]string),
		arrived:   make(map[string][]string),
	}
}

// makePlan makes a plan, again when what belongs to whom changes the numbering of the result. Each time more owners are known.
func makePlan(ctx context.Context, v *sides.Views, in Input, over sides.Passed) (*planner, []sides.Effect, error) {
	files, err := ids.ReadAccounts(v)
	if err != nil {
		return nil, nil, fmt.Errorf("read the account files: %w", err)
	}
	known := ids.NewOwners()
	for {
		p := newPlanner(v, in)
		p.known, p.pins.passed = known, over
		p.ids = ids.NewNumbering(v, files, known)
		v.UseNumbering(p.ids)
		effects, err := p.run(ctx)
		if err != nil || !p.again {
			return p, effects, err
		}
		known = p.known
	}
}

// allOwners returns the owners that are known: those of the storage's files, and of what is the user's though the storage does
// not have it.
func (p *planner) allOwners() ids.Owners {
	return p.known.With(p.usersOwners())
}

// usersOwners returns the owners of what is the user's, as far as this plan has found it.
func (p *planner) usersOwners() ids.Owners {
	kept := ids.NewOwners()
	for _, o := range p.want {
		if o.View == p.User || o.View == p.Old {
			kept.Add(o.Meta, 0)
		}
	}
	return kept.With(p.owners)
}

// renumbers finds out whether the plan is to be made again.
func (p *planner) renumbers() bool {
	all := p.allOwners()
	if p.SameBase || !p.known.Adds(all) {
		return false
	}
	p.again = !p.ids.Same(ids.NewNumbering(p.Views, p.ids.AccountFiles, all))
	p.known = all
	return p.again
}

// run makes the plan and returns the side effects; none when the plan is to be made again.
func (p *planner) run(ctx context.Context) ([]sides.Effect, error) {
	var err error
	if p.packages, err = readPackages(p.Views, pkg.NewTies(p.options.Policy.Action(policy.ConcernDependency), p.waiting)); err != nil {
		return nil, err
	}
	if err := p.fixPins(ctx); err != nil {
		return nil, err
	}
	if err := p.Said.Walk(ctx, p.visit); err != nil {
		return nil, fmt.Errorf("walk the storage: %w", err)
	}
	if p.renumbers() {
		return nil, nil
	}
	for _, d := range p.drivers {
		if d.finish == nil {
			continue
		}
		if err := d.finish(ctx, p); err != nil {
			return nil, fmt.Errorf("driver %s: %w", d.name, err)
		}
	}
	if err := p.keepLinks(); err != nil {
		return nil, err
	}
	p.keepPins()
	if err := p.settleOrphans(); err != nil {
		return nil, err
	}
	if p.renumbers() {
		return nil, nil
	}
	effects, err := p.effects()
	if err != nil {
		return nil, err
	}
	p.holdHeavy()
	return effects, p.holdStrangers(ctx, effects)
}

// visit decides on one path that the storage says something about. A look passes over what changes under its eyes.
func (p *planner) visit(c tree.Change) error {
	err := p.decide(c)
	if errors.Is(err, fs.SkipDir) {
		return err
	}
	if err = p.passOver(c.Path, err); err == nil && c.Kind == tree.Directory && p.pins.passed.Has(c.Path) {
		return fs.SkipDir
	}
	return err
}

func (p *planner) decide(c tree.Change) error {
	if p.pins.excludes(c.Path) {
		if c.Kind == tree.Directory {
			return fs.SkipDir
		}
		return nil
	}
	if c.Deleted && c.Covered {
		p.hidden[path.Dir(c.Path)] = true
		return nil // the opaque directory says the same
	}
	for len(p.detours) > 0 && !sides.Within(c.Path, p.detours[len(p.detours)-1].from) {
		p.detours = p.detours[:len(p.detours)-1]
	}
	if len(p.detours) > 0 {
		return p.visitDetour(c, p.detours[len(p.detours)-1])
	}
	t, err := p.Three(c.Path)
	if err != nil {
		return err
	}
	if !c.Deleted && !t.U.Is(c.Kind) {
		return &tree.UnreadableError{Path: c.Path, Why: tree.Changing}
	}
	return p.visitAt(c, t)
}

// visitAt decides on a change at a path, which may be another one than that of the change.
func (p *planner) visitAt(c tree.Change, t sides.Three) error {
	if c.Unread != nil {
		p.holdUnread(c.Path, c.Unread)
	}
	p.touched = p.touched || c.Path != "."
	p.note(c, t)
	if p.pins.decided(t) {
		return nil
	}
	if err := p.own(&t); err != nil {
		return err
	}
	for _, d := range p.drivers {
		if d.claims != nil && d.claims(p, t.Path) {
			return nil
		}
		if d.first == nil || !d.matches(t.Path) {
			continue
		}
		decided, ok, err := d.first(p, t)
		if err != nil {
			return fmt.Errorf("driver %s: %w", d.name, err)
		}
		if ok {
			decided.driver = d.name
			return p.apply(t, decided)
		}
	}
	switch {
	case c.Deleted:
		return p.deleted(t)
	case c.Kind == tree.Directory:
		return p.directory(c, t)
	default:
		return p.file(t)
	}
}

// own finds out which packages have a path. For what only the storage has it matters only if there is a package whose
// version the new base's replaces.
func (p *planner) own(t *sides.Three) (err error) {
	if t.O.Absent() && t.N.Absent() && !p.packages.Replaced {
		return nil
	}
	t.Own, err = p.packages.OwnerOf(*t)
	return err
}

// look looks up a path and its owners.
func (p *planner) look(name string) (sides.Three, error) {
	t, err := p.Three(name)
	if err != nil {
		return t, err
	}
	err = p.own(&t)
	return t, err
}

// child looks up a name in a directory.
func (p *planner) child(dir sides.Three, name string) (sides.Three, error) {
	t, err := p.Moved(path.Join(dir.Was, name), path.Join(dir.Path, name))
	if err != nil {
		return t, err
	}
	err = p.own(&t)
	return t, err
}

// childOrOwn is child; in a directory that has moved to where another one was, a name speaks for itself if the old base or the
// user had it there.
func (p *planner) childOrOwn(dir sides.Three, name string) (sides.Three, error) {
	if dir.Was == dir.Path {
		return p.child(dir, name)
	}
	t, err := p.look(path.Join(dir.Path, name))
	if err != nil || !t.O.Absent() || !t.U.Absent() {
		return t, err
	}
	return p.child(dir, name)
}

// note remembers what is needed when the walk is over.
func (p *planner) note(c tree.Change, t sides.Three) {
	if c.Deleted {
		p.hidden[path.Dir(c.Path)] = true
		return
	}
	if c.Path != "." { // the root of a storage is there whoever wrote in it
		p.owners.Add(c.Meta, 1)
	}
	if c.Kind != tree.Directory && c.Nlink > 1 {
		id := fileID{c.Dev, c.Ino}
		p.groups[id] = append(p.groups[id], link{t.Was, t.Path, t.O.Absent() && t.N.Absent()})
	}
}

// apply records a decision and what follows from it for the paths beside.
func (p *planner) apply(t sides.Three, d decision) error {
	if _, fixed := p.pins.fixed[t.Path]; fixed {
		return nil
	}
	d = p.settleMeta(t, d)
	if d.verdict != report.Remap { // the same account, by another id
		var err error
		if d.result, err = sides.WithoutGain(t, d.result); err != nil {
			return err
		}
	}
	if t.Was != t.Path && d.result.View == p.User && d.result.View != nil {
		d.verdict, d.quiet = report.Relocate, false
		d.reason = fmt.Sprintf("was %s: %s", tree.Shown(t.Was), d.reason)
	}
	if d.quiet {
		p.quiet[d.verdict]++
	} else {
		told := d
		told.result.Node = d.result.WithoutAttributes()
		p.findings = append(p.findings, finding{t.WithoutAttributes(), told})
	}
	if d.quiet && t.O.Absent() && t.N.Absent() {
		return nil // it is shown without side effects; a storage can have a great many of these
	}
	p.show(t.Path, d.result)
	switch {
	case d.beside && !t.N.Absent():
		return p.putBeside(t)
	case d.aside && !t.U.Absent():
		name, err := p.freeName(beside(t.Path, asideSuffix))
		if err != nil {
			return err
		}
		p.show(name, sides.Shows(t.U).Unprivileged())
	case d.verdict == report.Take || d.verdict == report.Merge:
		return p.dropBeside(t)
	}
	return nil
}

// putBeside puts the new base's version beside the user's, in place of what an earlier update put there.
func (p *planner) putBeside(t sides.Three) error {
	name := beside(t.Path, besideSuffix)
	there, err := sides.Lookup(p.Plain, name)
	if err != nil {
		return err
	}
	old, err := sides.SameContent(there, t.O)
	if err != nil {
		return err
	}
	same, err := sides.SameContent(there, t.N)
	if err != nil {
		return err
	}
	if !there.Absent() && !old && !same {
		if name, err = p.freeName(name); err != nil { // the user worked on it
			return err
		}
	}
	p.show(name, sides.Shows(t.N).Unprivileged())
	return nil
}

// freeName returns the name, with a number if something stands there: what a user has is not overwritten.
func (p *planner) freeName(name string) (string, error) {
	for i, free := 1, name; ; i++ {
		n, err := sides.Lookup(p.Plain, free)
		if err != nil {
			return "", err
		}
		if _, wanted := p.want[free]; n.Absent() && !wanted {
			return free, nil
		}
		free = fmt.Sprintf("%s.%d", name, i)
	}
}

// dropBeside removes what an earlier update put beside a path, if the conflict is over and nobody changed it.
func (p *planner) dropBeside(t sides.Three) error {
	name := beside(t.Path, besideSuffix)
	left, err := sides.Lookup(p.Plain, name)
	if err != nil || left.Absent() || t.O.Absent() {
		return err
	}
	same, err := sides.SameContent(left, t.O)
	if err != nil || !same {
		return err
	}
	dropped, err := p.Three(name)
	if err != nil {
		return err
	}
	return p.apply(dropped, decision{
		verdict: report.Drop, rule: "R4", reason: "put here by an earlier update; the conflict is over", result: sides.Nothing(),
	})
}

// result returns what will be seen at a path whose parents are seen.
func (p *planner) result(name string) (sides.Node, error) {
	if o, decided := p.want[name]; decided {
		return o.Node, nil
	}
	return sides.Lookup(p.Plain, name)
}
