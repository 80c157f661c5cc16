// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

// At tells what the stack says about one path, without anything below the stack being known; ok is false when it says
// nothing. If a directory on the way is what hides the path from below, the change is about that directory, whose path
// is shorter: a whiteout, something that is no directory, or an opaque directory that has nothing at the path. The
// error wraps fs.ErrInvalid when the path is not clean or not relative.
func (v *View) At(path string) (c Change, ok bool, err error) {
	if err := checkPath(path); err != nil {
		return Change{}, false, err
	}
	if len(v.roots) == 0 {
		return Change{}, false, nil
	}
	err = v.again(path, func() (err error) {
		c, ok, err = v.at(path)
		return err
	})
	return c, ok, err
}

func (v *View) at(path string) (c Change, ok bool, err error) {
	at, layers := root, countTo(len(v.roots))
	if path == root {
		c, _, err = v.told(path, root, root, layers, false)
		return c, err == nil, err
	}
	var opaque Change
	for {
		next := nextPath(at, path)
		_, name := splitPath(next)
		c, below, err := v.told(path, at, name, layers, opaque.Opaque)
		switch {
		case err != nil:
			return Change{}, false, err
		case c.Path == "":
			return opaque, opaque.Opaque, nil
		case next == path || below == nil:
			return c, true, nil
		}
		if c.Opaque {
			opaque = c
		}
		at, layers = next, below
	}
}

// told returns what a directory made up of layers says about a name in it, on the way to a path, and the layers that
// make up what stands there, none if it is no directory. A change without a path says nothing.
func (v *View) told(path, dir, name string, layers []int, inner bool) (Change, []int, error) {
	dirs := v.dirs(dir, layers)
	defer dirs.close()
	p, err := dirs.look(name, nil)
	if err != nil || len(p.parts) == 0 {
		return Change{}, nil, err
	}
	p.inner = inner
	describe := (*place).entry
	if p.path != path {
		describe = (*place).bare // only the kind of a directory on the way counts
	}
	c, err := p.changeOf(describe)
	return c, p.layers(), err
}

// change returns what a stack says at a place.
func (p *place) change() (Change, error) { return p.changeOf((*place).entry) }

// changeOf returns what a stack says at a place, of whose entry as much is read as describe does.
func (p *place) changeOf(describe func(*place) (Entry, error)) (c Change, err error) {
	c.Deleted, c.Covered = p.gone, p.inner
	if p.gone {
		c.Path, c.Layer = p.path, p.parts[0].layer
		return c, nil
	}
	if c.Entry, err = describe(p); err != nil {
		return c, err
	}
	c.Opaque = c.Kind == Directory && p.cut
	return c, nil
}
