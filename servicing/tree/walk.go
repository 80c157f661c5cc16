// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// ErrTooDeep is wrapped by the error of everything that walks a tree when directories are nested more than maxDepth
// deep.
var ErrTooDeep = errors.New("directories are nested too deep")

// maxDepth bounds the depth of a walk, and so its use of memory and time, whatever a container has made.
const maxDepth = 4096

// Walk tells what the stack says about each path, parents before children, the names of a directory in order of their
// bytes, without anything below the stack being known. The first call is for the root, "."; a stack without directories
// gives no call. Whiteouts and opaque marks below one that already hides them are not told; one in an opaque directory
// is (see Change.Covered). An error of fn ends the walk and is returned; fs.SkipDir, returned for a directory, skips
// what is in it.
func (v *View) Walk(ctx context.Context, fn func(Change) error) error {
	return v.walk(ctx, func(p *place) error {
		c, err := p.change()
		if err != nil {
			return v.passOver(p.path, err)
		}
		return fn(c)
	})
}

// Tree tells all that the view shows, in the order of Walk. Errors and fs.SkipDir are as for Walk.
func (v *View) Tree(ctx context.Context, fn func(Entry) error) error {
	return v.walk(ctx, func(p *place) error {
		if p.gone {
			return nil
		}
		e, err := p.entry()
		if err != nil {
			return v.passOver(p.path, err)
		}
		return fn(e)
	})
}

// walk visits each place of the view, whiteouts included.
func (v *View) walk(ctx context.Context, visit func(*place) error) error {
	w := &walker{ctx: ctx, view: v, visit: visit}
	return w.run()
}

// Survey is Walk for a look at a stack, which should tolerate changes, that one odd path must not end: the entries have
// no extended attributes. Paths that cannot be shown are passed over, with what is below them; trouble is called with
// an error that names the path.
func (v *View) Survey(ctx context.Context, fn func(Change) error, trouble func(error)) error {
	w := &walker{ctx: ctx, view: v, trouble: trouble, visit: func(p *place) error {
		c, err := p.changeOf((*place).bare)
		if err != nil {
			return v.passOver(p.path, err)
		}
		return fn(c)
	}}
	return w.run()
}

// walker walks a view depth first. Only the directory that it is in has open descriptors, and only one path is kept, so
// that neither depth nor width of a tree exhausts anything.
type walker struct {
	ctx   context.Context
	view  *View
	visit func(*place) error
	path  []byte // the directory that the walk is in; empty at the root
	depth int
	// trouble, where it is not nil, is told of paths that cannot be walked; the walk goes on with the next ones.
	trouble func(error)
}

// run walks the whole view.
func (w *walker) run() error {
	v := w.view
	if len(v.roots) == 0 {
		return nil
	}
	dirs := v.dirs(root, countTo(len(v.roots)))
	defer dirs.close()
	p, err := dirs.look(root, nil)
	if err != nil {
		return err
	}
	return w.enter(&p, dirs)
}

// enter visits a place, found in dirs, and what is below it.
func (w *walker) enter(p *place, dirs *openDirs) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	err := w.visit(p)
	if refused, is := errors.AsType[*RefusedError](err); is && w.trouble != nil {
		w.trouble(refused)
		return nil
	}
	switch {
	case errors.Is(err, errVanished), errors.Is(err, fs.SkipDir) && p.directory():
		return nil
	case err != nil || !p.directory():
		return err
	}
	dirs.close()
	return w.descend(p)
}

// descend walks what is in a directory.
func (w *walker) descend(p *place) error {
	if w.depth == maxDepth {
		err := fmt.Errorf("walk below %.100s: %w", Shown(p.path), ErrTooDeep)
		if w.trouble == nil {
			return err
		}
		w.trouble(err)
		return nil
	}
	length := len(w.path)
	if p.path != root {
		w.path = append(w.path, p.path[length:]...)
	}
	p.path = "" // it would keep a long path in memory for each directory above the one that the walk is in
	w.depth++
	err := w.children(p)
	w.depth--
	w.path = w.path[:length]
	return err
}

// children walks what is in the directory that the walk is in.
func (w *walker) children(p *place) error {
	dirs := w.view.dirs(w.dir(), p.layers())
	defer dirs.close()
	list, err := dirs.list()
	if err != nil {
		return unlessVanished(w.view.passOver(w.dir(), err))
	}
	for _, item := range list {
		dirs.path = w.dir()
		next, err := dirs.look(item.name, item.positions)
		if failed := unlessVanished(w.view.passOver(next.path, err)); failed != nil {
			return failed
		}
		if err != nil || len(next.parts) == 0 {
			continue // vanished since the directory was read; or a mounted overlay lists a whiteout
		}
		next.inner = p.inner || p.cut
		dirs.path = ""
		if err := w.enter(&next, dirs); err != nil {
			return err
		}
	}
	return nil
}

// errVanished says that what a walk came to is gone, and that this is to be passed over.
var errVanished = errors.New("gone")

// passOver returns an error about a path. Where the view tolerates changes and the path has vanished it returns
// errVanished.
func (v *View) passOver(path string, err error) error {
	switch {
	case !vanished(err):
		return err
	case v.tolerance.Changes:
		return errVanished
	default:
		return fmt.Errorf("%w: %w", unreadable(path, err), err)
	}
}

func unlessVanished(err error) error {
	if errors.Is(err, errVanished) {
		return nil
	}
	return err
}

// dir returns the path of the directory that the walk is in.
func (w *walker) dir() string {
	if len(w.path) == 0 {
		return root
	}
	return string(w.path)
}

// listed is a name in a directory of a view, with the positions of the layers that have it.
type listed struct {
	name      string
	positions []int
}

// list returns the names that the layers have in a directory, sorted. Whiteouts are among them.
func (d *openDirs) list() ([]listed, error) {
	having := make(map[string][]int)
	first := countTo(len(d.layers))
	for i := range d.layers {
		fd, err := d.fd(i)
		if err != nil {
			return nil, err
		}
		names, err := readNames(fd)
		if err != nil {
			return nil, fmt.Errorf("read directory %s: %w", Shown(d.path), err)
		}
		for _, name := range names {
			if positions, ok := having[name]; ok {
				having[name] = append(positions, i)
			} else {
				having[name] = first[i : i+1 : i+1] // saves an allocation for most names
			}
		}
	}
	list := make([]listed, 0, len(having))
	for name, positions := range having {
		list = append(list, listed{name, positions})
	}
	slices.SortFunc(list, func(a, b listed) int { return strings.Compare(a.name, b.name) })
	return list, nil
}
