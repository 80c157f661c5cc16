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

	"golang.org/x/sys/unix"
)

// ErrTooDeep is wrapped by the error of everything that walks a tree when directories are nested more than maxDepth deep.
var ErrTooDeep = errors.New("directories are nested too deep")

// maxDepth bounds the depth of a walk, and so its use of memory and time, whatever a container has made.
const maxDepth = 4096

// Walk tells what the stack says about each path, parents before children, the names of a directory in order of their
// bytes, without anything below the stack being known. The first call is for the root, "."; a stack without directories
// gives no call. Whiteouts and opaque marks below one that already hides them are not told; one in an opaque directory is
// (see Change.Covered). An error of fn ends the walk and is returned; fs.SkipDir, returned for a directory, skips what is
// in it.
func (v *View) Walk(ctx context.Context, fn func(Change) error) error {
	return v.walk(ctx, func(p *place) error {
		c, err := p.change()
		if err != nil {
			return err
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
			return err
		}
		return fn(e)
	})
}

// walk visits each place of the view, whiteouts included.
func (v *View) walk(ctx context.Context, visit func(*place) error) error {
	w := &walker{ctx: ctx, view: v, visit: visit}
	return w.run()
}

// walker walks a view depth first. Only the directory that it is in has open descriptors, and only one path is kept, so
// that neither depth nor width of a tree exhausts anything.
type walker struct {
	ctx   context.Context
	view  *View
	visit func(*place) error
	live  bool   // the tree may change meanwhile: what vanishes is passed over
	path  []byte // the directory that the walk is in; empty at the root
	depth int
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
	if !p.directory() {
		return err
	}
	if errors.Is(err, fs.SkipDir) {
		return nil
	}
	if err != nil {
		return err
	}
	dirs.close()
	return w.descend(p)
}

// descend walks what is in a directory.
func (w *walker) descend(p *place) error {
	if w.depth == maxDepth {
		return fmt.Errorf("walk below %.100q: %w", p.path, ErrTooDeep)
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
		return w.unlessVanished(err)
	}
	for _, item := range list {
		dirs.path = w.dir()
		next, err := dirs.look(item.name, item.positions)
		if w.unlessVanished(err) != nil {
			return err
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

// unlessVanished returns an error unless it says that something vanished from a tree that may change.
func (w *walker) unlessVanished(err error) error {
	if w.live && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)) {
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
			return nil, fmt.Errorf("read directory %q: %w", d.path, err)
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
