// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package sides

import (
	"path"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Scene is a system as a program in it would see it, without a mount: a view, perhaps with planned side effects over
// it.
type Scene struct {
	view    *tree.View
	effects map[string]Effect
	inside  map[string][]string // by directory, the names in it that have effects
}

// NewScene shows side effects over a view.
func NewScene(view *tree.View, effects []Effect) *Scene {
	s := &Scene{view: view, effects: make(map[string]Effect), inside: make(map[string][]string)}
	for _, e := range effects {
		s.effects[e.At] = e
		if e.At != "." {
			s.inside[path.Dir(e.At)] = append(s.inside[path.Dir(e.At)], path.Base(e.At))
		}
	}
	return s
}

// At returns what stands at a path. Symbolic links on the way are not followed.
func (s *Scene) At(name string) (Outcome, error) {
	if e, ok := s.effects[name]; ok {
		return e.Outcome, nil // that of a whiteout is nothing
	}
	for dir := name; len(s.effects) > 0 && dir != "."; {
		dir = path.Dir(dir)
		if e, ok := s.effects[dir]; ok {
			if !e.Dir() {
				return Nothing(), nil
			}
			break // its own parents are directories, too
		}
	}
	n, err := Lookup(s.view, name)
	return Shows(n), err
}

// Look is at, for resolve.
func (s *Scene) Look(name string) (Node, error) {
	o, err := s.At(name)
	return o.Node, err
}

// Follow returns what a path leads to, and where that is.
func (s *Scene) Follow(name string) (where string, o Outcome, err error) {
	where, n, err := resolveAt(s.Look, TrimRoot(name))
	if err != nil || n.Absent() {
		return "", Nothing(), err
	}
	o, err = s.At(where)
	return where, o, err
}

// Has reports whether a path leads to a regular file.
func (s *Scene) Has(name string) (bool, error) {
	_, o, err := s.Follow(name)
	return o.Is(tree.Regular), err
}

// Names returns the names in the directory that a path leads to, sorted; none when it leads to none.
func (s *Scene) Names(name string) ([]string, error) {
	where, o, err := s.Follow(name)
	if err != nil || !o.Dir() {
		return nil, err
	}
	list, err := ReadDir(s.view, where)
	if err != nil {
		return nil, err
	}
	list = append(list, s.inside[where]...)
	slices.Sort(list)
	var out []string
	for _, one := range slices.Compact(list) {
		there, err := s.At(path.Join(where, one))
		if err != nil {
			return nil, err
		}
		if !there.Absent() {
			out = append(out, one)
		}
	}
	return out, nil
}

// Read returns the content of the regular file that a path leads to, of at most limit bytes; nil when it leads to
// none, or to a larger one.
func (s *Scene) Read(name string, limit int64) ([]byte, error) {
	_, o, err := s.Follow(name)
	if err != nil || !o.Is(tree.Regular) || o.Length() > limit {
		return nil, err
	}
	content, closer, err := o.Open()
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	out := make([]byte, o.Length())
	n, err := content.ReadAt(out, 0)
	if err != nil && n < len(out) {
		return nil, err
	}
	return out, nil
}
