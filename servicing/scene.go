// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"bytes"
	"io"
	"path"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// scene is a system as a program in it would see it, without a mount: a view, perhaps with planned side effects over it.
type scene struct {
	view    *tree.View
	effects map[string]effect
	inside  map[string][]string // by directory, the names in it that have effects
}

// newScene shows side effects over a view.
func newScene(view *tree.View, effects []effect) *scene {
	s := &scene{view: view, effects: make(map[string]effect), inside: make(map[string][]string)}
	for _, e := range effects {
		s.effects[e.path] = e
		if e.path != "." {
			s.inside[path.Dir(e.path)] = append(s.inside[path.Dir(e.path)], path.Base(e.path))
		}
	}
	return s
}

// at returns what stands at a path. Symbolic links on the way are not followed.
func (s *scene) at(name string) (outcome, error) {
	if e, ok := s.effects[name]; ok {
		return e.outcome, nil // that of a whiteout is nothing
	}
	for dir := name; len(s.effects) > 0 && dir != "."; {
		dir = path.Dir(dir)
		if e, ok := s.effects[dir]; ok {
			if !e.dir() {
				return nothing(), nil
			}
			break // its own parents are directories, too
		}
	}
	n, err := lookup(s.view, name)
	return shows(n), err
}

// look is at, for resolve.
func (s *scene) look(name string) (node, error) {
	o, err := s.at(name)
	return o.node, err
}

// follow returns what a path leads to, and where that is.
func (s *scene) follow(name string) (where string, o outcome, err error) {
	where, n, err := resolveAt(s.look, trimRoot(name))
	if err != nil || n.absent() {
		return "", nothing(), err
	}
	o, err = s.at(where)
	return where, o, err
}

// has tells whether a path leads to a regular file.
func (s *scene) has(name string) (bool, error) {
	_, o, err := s.follow(name)
	return o.is(tree.Regular), err
}

// names returns the names in the directory that a path leads to, sorted; none when it leads to none.
func (s *scene) names(name string) ([]string, error) {
	where, o, err := s.follow(name)
	if err != nil || !o.dir() {
		return nil, err
	}
	list, err := readDir(s.view, where)
	if err != nil {
		return nil, err
	}
	list = append(list, s.inside[where]...)
	slices.Sort(list)
	var out []string
	for _, one := range slices.Compact(list) {
		there, err := s.at(path.Join(where, one))
		if err != nil {
			return nil, err
		}
		if !there.absent() {
			out = append(out, one)
		}
	}
	return out, nil
}

// read returns the content of the regular file that a path leads to, of at most limit bytes; nil when it leads to none, or
// to a larger one.
func (s *scene) read(name string, limit int64) ([]byte, error) {
	_, o, err := s.follow(name)
	if err != nil || !o.is(tree.Regular) || o.length() > limit {
		return nil, err
	}
	content, closer, err := o.open()
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	out := make([]byte, o.length())
	n, err := content.ReadAt(out, 0)
	if err != nil && n < len(out) {
		return nil, err
	}
	return out, nil
}

// length returns the size of a regular file.
func (o outcome) length() int64 {
	if o.made {
		return int64(len(o.content))
	}
	return o.Size
}

// open opens a regular file, to be closed.
func (o outcome) open() (io.ReaderAt, io.Closer, error) {
	if o.made {
		return bytes.NewReader(o.content), io.NopCloser(nil), nil
	}
	file, err := o.view.OpenEntry(o.Entry)
	if err != nil {
		return nil, nil, err
	}
	return file, file, nil
}
