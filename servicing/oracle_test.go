// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// thing is a file or directory of a whole tree, without regard to layers.
type thing struct {
	what     string // as files describes it
	meta     meta
	ino      uint64 // not compared
	children map[string]*thing
}

// meta is the metadata that the oracle knows about.
type meta struct {
	mode, uid, gid uint32
	xattr          string // user.a
}

func (t *thing) dir() bool { return t != nil && t.what == "dir" }

// child returns what is in a directory; nil when there is nothing, or it is none.
func (t *thing) child(name string) *thing {
	if t == nil {
		return nil
	}
	return t.children[name]
}

// same reports whether both have the same content.
func same(a, b *thing) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.what == b.what
}

// scan reads a tree.
func scan(t tb, full string) *thing {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(full, &st))
	out := &thing{what: look(t, full, ".", ""), meta: meta{mode: st.Mode & 0o7777, uid: st.Uid, gid: st.Gid}, ino: st.Ino, children: map[string]*thing{}}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return out
	}
	value := make([]byte, 64)
	if n, err := unix.Getxattr(full, "user.a", value); err == nil {
		out.meta.xattr = string(value[:n])
	}
	if !out.dir() {
		return out
	}
	entries, err := os.ReadDir(full)
	must(t, err)
	for _, e := range entries {
		out.children[e.Name()] = scan(t, filepath.Join(full, e.Name()))
	}
	return out
}

// all returns a tree by path.
func (t *thing) all() map[string]*thing {
	out := map[string]*thing{}
	for name, child := range t.children {
		out[name] = child
		for below, one := range child.all() {
			out[path.Join(name, below)] = one
		}
	}
	return out
}

func (t *thing) String() string {
	var out strings.Builder
	all := t.all()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&out, "%s: %q %o %d:%d %q; ", name, all[name].what, all[name].meta.mode, all[name].meta.uid, all[name].meta.gid, all[name].meta.xattr)
	}
	return out.String()
}

// mergeMetas is the three-way choice for each attribute; what the base takes away from the mode is taken away.
func mergeMetas(o, n, u, content *thing) meta {
	kind := func(t *thing) string {
		if t == nil {
			return "nothing"
		}
		if first, _, _ := strings.Cut(t.what, " "); first == "dir" || first == "->" {
			return first
		}
		return "file"
	}
	switch {
	case kind(n) != kind(content) || kind(u) != kind(content):
		return content.meta
	case o == nil:
		return u.meta // made by both
	case kind(o) != kind(content):
		return content.meta
	}
	out := meta{three3(o.meta.mode, n.meta.mode, u.meta.mode), three3(o.meta.uid, n.meta.uid, u.meta.uid), three3(o.meta.gid, n.meta.gid, u.meta.gid), three3(o.meta.xattr, n.meta.xattr, u.meta.xattr)}
	if o.meta.mode != n.meta.mode && o.meta.mode != u.meta.mode {
		out.mode = without(u.meta.mode, o.meta.mode, n.meta.mode)
	}
	return out
}

// without returns a mode without what the base took away. A class of which the base left nothing has nothing, and one that the base
// took something from is not left with writing but not reading.
func without[T ~uint32](mode, was, is T) T {
	mode &^= was &^ is
	for _, class := range []T{0o700, 0o070, 0o007} {
		reading, writing := class&0o444, class&0o222
		switch {
		case was&^is&class == 0:
		case is&class == 0:
			mode &^= class
		case mode&reading == 0:
			mode &^= writing
		}
	}
	return mode
}

func three3[T comparable](o, n, u T) T {
	if o == u {
		return n
	}
	return u
}

// of returns a copy of one thing with merged metadata.
func of(content, o, n, u *thing) *thing {
	out := &thing{what: content.what, meta: mergeMetas(o, n, u, content), ino: content.ino, children: map[string]*thing{}}
	if same(content, n) {
		return out.limited(u, n)
	}
	return out.limited(u)
}

// limited returns a file with no setuid and setgid bits but those that one of some others has, too, for the same owner or root.
func (t *thing) limited(by ...*thing) *thing {
	if t == nil || t.dir() || strings.HasPrefix(t.what, "->") {
		return t
	}
	var bits uint32
	for _, one := range by {
		if one == nil || one.dir() || strings.HasPrefix(one.what, "->") {
			continue
		}
		if one.meta.uid == t.meta.uid || one.meta.uid == 0 {
			bits |= one.meta.mode & 0o4000
		}
		if one.meta.gid == t.meta.gid || one.meta.gid == 0 {
			bits |= one.meta.mode & 0o2000
		}
	}
	out := *t
	out.meta.mode &^= 0o6000 &^ bits
	return &out
}

// unprivileged returns a tree in which no file has setuid and setgid bits.
func (t *thing) unprivileged() *thing {
	out := *t.limited()
	out.children = map[string]*thing{}
	for name, child := range t.children {
		out.children[name] = child.unprivileged()
	}
	return &out
}

// oracle says what is right for the names in a directory of the result, slowly and simply.
func oracle(o, n, u, result *thing) {
	names := map[string]bool{}
	for _, side := range []*thing{o, n, u} {
		if side != nil {
			for name := range side.children {
				names[name] = true
			}
		}
	}
	put := func(name string, t *thing) {
		if t != nil {
			result.children[name] = t
		}
	}
	for name := range names {
		co, cn, cu := o.child(name), n.child(name), u.child(name)
		switch {
		case cu.dir() || cn.dir():
			oracleDir(name, co, cn, cu, put)
		default:
			oracleFile(name, co, cn, cu, put)
		}
	}
}

// What begins the names of what is put beside until the oracle has decided on the whole tree.
const putBeside, setAside = "(new)", "(old)"

// shelved moves what is put beside to where it stands in a container.
func shelved(result *thing) {
	private := func() *thing { return &thing{what: "dir", meta: meta{mode: 0o700}, children: map[string]*thing{}} }
	shelf := private()
	var collect func(at string, t *thing)
	collect = func(at string, t *thing) {
		for _, name := range slices.Sorted(maps.Keys(t.children)) {
			kind, is := "new", strings.HasPrefix(name, putBeside)
			if strings.HasPrefix(name, setAside) {
				kind, is = "old", true
			}
			if !is {
				collect(path.Join(at, name), t.children[name])
				continue
			}
			dir := shelf
			for step := range strings.SplitSeq(path.Join(kind, at), "/") {
				if dir.children[step] == nil {
					dir.children[step] = private()
				}
				dir = dir.children[step]
			}
			if t.children[name] != nil {
				dir.children[name[len(putBeside):]] = t.children[name].onlyForRoot()
			}
			delete(t.children, name)
		}
	}
	collect("", result)
	if len(shelf.children) > 0 {
		molt := private()
		molt.children["beside"] = shelf
		lib := &thing{what: "dir", meta: meta{mode: 0o755}, children: map[string]*thing{"molt": molt}}
		result.children["var"] = &thing{what: "dir", meta: meta{mode: 0o755}, children: map[string]*thing{"lib": lib}}
	}
}

// onlyForRoot returns a tree with directories that only root may enter.
func (t *thing) onlyForRoot() *thing {
	out := *t
	if !t.dir() {
		return &out
	}
	out.meta, out.children = meta{mode: 0o700}, map[string]*thing{}
	for name, child := range t.children {
		out.children[name] = child.onlyForRoot()
	}
	return &out
}

// oracleFile decides where neither the base nor the user has a directory.
func oracleFile(name string, o, n, u *thing, put func(string, *thing)) {
	switch {
	case u == nil && n == nil:
	case u == nil && o == nil:
		put(name, n)
	case u == nil: // deleted by the user
	case n == nil && same(o, u): // deleted by the base
	case n == nil:
		put(name, u)
	case same(o, u) && !same(o, n):
		put(name, of(n, o, n, u))
	case same(o, n), same(n, u):
		put(name, of(u, o, n, u))
	default:
		put(name, of(u, o, n, u))
		if !o.dir() && !strings.HasPrefix(u.what, "->") {
			put(putBeside+name, n.limited())
		}
	}
}

// oracleDir decides where the base or the user has a directory.
func oracleDir(name string, o, n, u *thing, put func(string, *thing)) {
	within := o // what the old base has below
	if !o.dir() {
		within = nil
	}
	switch {
	case u.dir() && n.dir():
		both := of(u, o, n, u)
		oracle(within, n, u, both)
		put(name, both)
	case u.dir() && n == nil && o.dir():
		left := &thing{what: "dir", meta: u.meta, children: map[string]*thing{}}
		oracle(within, nil, u, left)
		if len(left.children) > 0 {
			put(name, left)
		}
	case u.dir() && o.dir(): // a file in the base now
		put(name, n)
		put(setAside+name, changedIn(o, u))
	case u.dir():
		put(name, u)
		if n != nil && !same(o, n) && !strings.HasPrefix(n.what, "->") {
			put(putBeside+name, n.limited())
		}
	case u == nil && o.dir():
		arrived := &thing{what: "dir", meta: n.meta, children: map[string]*thing{}}
		oracle(o, n, nil, arrived)
		if len(arrived.children) > 0 {
			put(name, arrived)
		}
	case u == nil, same(o, u):
		put(name, n)
	case o.dir():
		put(name, u)
	default:
		put(name, n)
		put(setAside+name, u.limited())
	}
}

// changedIn returns what the user made or changed in a directory; nil for nothing.
func changedIn(o, u *thing) *thing {
	out := &thing{what: "dir", meta: u.meta, children: map[string]*thing{}}
	for name, child := range u.children {
		was := o.child(name)
		switch {
		case child.dir() && was.dir():
			if kept := changedIn(was, child); kept != nil {
				out.children[name] = kept
			}
		case child.dir() || !same(was, child):
			out.children[name] = child.unprivileged()
		}
	}
	if len(out.children) == 0 {
		return nil
	}
	return out
}

// followLinks makes names that the user linked to a file, and that only the user has, follow that file when its metadata is
// merged; but for setuid and setgid bits that the base gives to its name.
func followLinks(o, n, u, result *thing) {
	inO, inN, inU, out := o.all(), n.all(), u.all(), result.all()
	for _, own := range slices.Sorted(maps.Keys(inU)) {
		if out[own] == nil || inO[own] != nil || inN[own] != nil || inU[own].dir() {
			continue
		}
		for _, other := range slices.Sorted(maps.Keys(inU)) {
			linked := inU[other].ino == inU[own].ino && (inO[other] != nil || inN[other] != nil)
			if linked && out[other] != nil && out[other].what == inU[other].what && out[other].meta != inU[other].meta && out[other].ino == inU[other].ino {
				if out[other].limited(inU[own]).meta == out[other].meta {
					out[own].meta = out[other].meta
				}
				break
			}
		}
	}
}

// spec is how one path of a drawn base is made.
type spec struct {
	what string
	meta meta
}

func drawnMeta(t *rapid.T, dir bool) meta {
	modes := []uint32{0o644, 0o600, 0o755, 0o640, 0o4711}
	if dir {
		modes = []uint32{0o755, 0o700, 0o750}
	}
	return meta{
		mode: rapid.SampledFrom(modes).Draw(t, "mode"), uid: rapid.SampledFrom([]uint32{0, 0, 7}).Draw(t, "uid"),
		gid: rapid.SampledFrom([]uint32{0, 0, 8}).Draw(t, "gid"), xattr: rapid.SampledFrom([]string{"", "", "1", "2"}).Draw(t, "xattr"),
	}
}

// drawnSpec gives each path of a drawn tree metadata, some of it as before.
func drawnSpec(t *rapid.T, f files, before map[string]spec) map[string]spec {
	out := map[string]spec{}
	for name := range sortedKeys(f) {
		one := spec{f[name], meta{mode: 0o644}}
		if f[name] == "dir" {
			one.meta.mode = 0o755
		}
		if old, ok := before[name]; ok && (old.what == "dir") == (one.what == "dir") {
			one.meta = old.meta
		}
		if rapid.IntRange(0, 3).Draw(t, "change metadata") == 0 {
			one.meta = drawnMeta(t, one.what == "dir")
		}
		out[name] = one
	}
	return out
}

// apply sets metadata; not of symbolic links.
func (m meta) apply(t tb, full string) {
	t.Helper()
	info, err := os.Lstat(full)
	must(t, err)
	if info.Mode()&os.ModeSymlink != 0 {
		return
	}
	must(t, unix.Lchown(full, int(m.uid), int(m.gid)))
	must(t, unix.Chmod(full, m.mode))
	if m.xattr == "" {
		_ = unix.Removexattr(full, "user.a")
		return
	}
	must(t, unix.Setxattr(full, "user.a", []byte(m.xattr), 0))
}

func buildSpec(t tb, s map[string]spec) string {
	dir := tempDir(t)
	f := files{}
	for name, one := range s {
		f[name] = one.what
	}
	f.build(t, dir)
	for name, one := range s {
		one.meta.apply(t, filepath.Join(dir, name))
	}
	return dir
}

// drawnMetaWork changes metadata, and makes hard links.
func drawnMetaWork(t *rapid.T, root string) {
	for i := range rapid.IntRange(0, 3).Draw(t, "metadata actions") {
		full := filepath.Join(root, drawnPath(t))
		info, err := os.Lstat(full)
		if err != nil || info.Mode()&os.ModeSymlink != 0 {
			continue
		}
		if !info.IsDir() && rapid.Bool().Draw(t, "link") {
			must(t, os.Link(full, filepath.Join(root, fmt.Sprintf("etc/own%d-%d", i, info.Size()))))
			continue
		}
		drawnMeta(t, info.IsDir()).apply(t, full)
	}
}

// drawnWhole draws a scenario with everything that the oracle knows about.
func drawnWhole(t *rapid.T) *scenario {
	oldFiles := drawnTree(t, true)
	old := drawnSpec(t, oldFiles, nil)
	base := drawnSpec(t, drawnBase(t, oldFiles, true), old)
	s := &scenario{t: t, old: buildSpec(t, old), base: buildSpec(t, base)}
	s.work(s.old, func(root string) { drawnWork(t, root, true); drawnMetaWork(t, root) })
	if rapid.Bool().Draw(t, "two nodes") {
		s.work(s.old, func(root string) { drawnWork(t, root, true) })
	}
	return s
}

// scanned scans what a stack shows through a mount.
func (s *scenario) scanned(lower ...string) (out *thing) {
	s.mounted("", lower, func(root string) { out = scan(s.t, root) })
	return out
}

// TestOracle compares the result, through a mount, with what an independent oracle makes of whole trees: content and types,
// modes, owners and attributes, directories that were deleted, made again or replaced, and hard links.
func TestOracle(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	checked := 0
	rapid.Check(t, func(rt *rapid.T) {
		s := drawnWhole(rt)
		o, n := scan(rt, s.old), scan(rt, s.base)
		u := s.scanned(slices.Concat(s.nodes, []string{s.old})...)
		p := s.plan(Options{})
		got := s.scanned(slices.Concat(s.delta(p), s.nodes, []string{s.base})...)
		if linkedAway(o, n, u, n.child("etc")) || renamedBy(o, n) {
			return
		}
		checked++
		want := &thing{what: "dir", children: map[string]*thing{}}
		oracle(o, n, u, want)
		followLinks(o, n, u, want)
		shelved(want)
		if got.String() != want.String() {
			rt.Fatalf("old  %v\nbase %v\nuser %v\ngot  %v\nwant %v\n%s", o, n, u, got, want, encoded(rt, p.Report()))
		}
		ownLinks(rt, o, n, u, got)
	})
	if checked == 0 {
		t.Error("nothing was checked")
	}
}

// renamedBy reports whether the base has a directory under another name, with the same in it: the oracle does not know about that.
func renamedBy(o, n *thing) bool {
	inO, inN := o.all(), n.all()
	for gone, was := range inO {
		for arrived, is := range inN {
			if was.dir() && !inN[gone].dir() && is.dir() && !inO[arrived].dir() && was.contents() == is.contents() {
				return true
			}
		}
	}
	return false
}

// contents tells what is in a directory, without metadata.
func (t *thing) contents() string {
	var out strings.Builder
	all := t.all()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&out, "%s: %q; ", name, all[name].what)
	}
	return out.String()
}

// linkedAway reports whether the base replaced a directory of the user's by a link to another one, which is always called a: the
// oracle does not know where things went then.
func linkedAway(o, n, u, etc *thing) bool {
	inO, inU := o.all(), u.all()
	for name, one := range n.all() {
		if strings.HasPrefix(one.what, "-> a") && inO[name].dir() && inU[name].dir() && etc.child("a").dir() && path.Dir(name) == "etc" {
			return true
		}
	}
	return false
}

// ownLinks checks that names of one file that only the user has still are one file.
func ownLinks(t *rapid.T, o, n, u, got *thing) {
	inO, inN, inU, out := o.all(), n.all(), u.all(), got.all()
	own := map[uint64]string{}
	for _, name := range slices.Sorted(maps.Keys(inU)) {
		if inO[name] != nil || inN[name] != nil || inU[name].dir() || out[name] == nil {
			continue
		}
		first, ok := own[inU[name].ino]
		if !ok {
			own[inU[name].ino] = name
			continue
		}
		if out[first].ino != out[name].ino {
			t.Fatalf("%s and %s are not one file any more", first, name)
		}
	}
}
