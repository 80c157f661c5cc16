// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package check

import (
	"debug/elf"
	"errors"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/elfdeps"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// need is something that a program does not find.
type need struct{ library, version string } // the version is "" when the library itself is not there

func (n need) String() string {
	if n.version == "" {
		return n.library + ", which is not there any more"
	}
	return "version " + n.version + " of " + n.library + ", which does not have it any more"
}

// checkProgram finds a program, or library, that found all that it needs before and does not after.
func (c *checker) checkProgram(t sides.Three, o sides.Outcome, content io.ReaderAt) error {
	if c.ignores(policy.ConcernPackagedProgram, policy.ConcernOwnProgram, policy.ConcernReplacedLibrary) {
		return nil
	}
	f, err := elfdeps.Read(content, o.Length())
	if errors.Is(err, elfdeps.ErrFormat) {
		return nil // the loader would not take it either
	}
	if err != nil {
		return err
	}
	after, err := c.programs[1].missing(f, t.Path)
	if err != nil {
		return err
	}
	if len(after) > 0 {
		if err := c.compareNeeds(f, t, after); err != nil {
			return err
		}
	}
	return c.checkReplaced(f, t)
}

// compareNeeds records what is missing after and was not before.
func (c *checker) compareNeeds(f *elfdeps.File, t sides.Three, after []need) error {
	before, err := c.programs[0].missing(f, t.Was)
	if err != nil {
		return err
	}
	for _, one := range after {
		wrong := slices.ContainsFunc(before, func(other need) bool {
			return other == one || other.library == one.library && other.version == ""
		})
		if wrong {
			continue
		}
		if err := c.findAt(policy.ConcernPackagedProgram, policy.ConcernOwnProgram, t, "needs %s", one); err != nil {
			return err
		}
	}
	return nil
}

// checkReplaced finds a library of the user's in place of one of the base's that lacks what the new base's defines:
// programs of the new base may need it.
func (c *checker) checkReplaced(f *elfdeps.File, t sides.Three) error {
	if !t.N.Is(tree.Regular) || f.Type != elf.ET_DYN || f.Loader != "" || c.ignores(policy.ConcernReplacedLibrary) {
		return nil
	}
	var defined [2][]string
	for i, n := range []sides.Node{t.O, t.N} {
		var err error
		if defined[i], err = definedBy(sides.Shows(n)); err != nil {
			return err
		}
	}
	var lacks []string
	for _, version := range defined[1] {
		if !slices.Contains(f.Defines, version) && !slices.Contains(defined[0], version) {
			lacks = append(lacks, version)
		}
	}
	if len(lacks) > 0 {
		c.find(
			policy.ConcernReplacedLibrary, t.Path, t.Own.Name(),
			"is the user's and lacks what the base's in its place has, and its programs may need: %s",
			strings.Join(lacks, ", "),
		)
	}
	return nil
}

// definedBy returns the symbol versions of a library; none when it is no such file.
func definedBy(o sides.Outcome) ([]string, error) {
	if !o.Is(tree.Regular) {
		return nil, nil
	}
	f, err := readProgram(o)
	if err != nil || f == nil {
		return nil, err
	}
	return f.Defines, nil
}

// readProgram reads an ELF file; nil when it is none.
func readProgram(o sides.Outcome) (*elfdeps.File, error) {
	content, closer, err := o.Open()
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	f, err := elfdeps.Read(content, o.Length())
	if errors.Is(err, elfdeps.ErrFormat) {
		return nil, nil
	}
	return f, err
}

// loader finds libraries as the dynamic loader does, in a scene. LD_LIBRARY_PATH, and the search path of the program
// that loads a library, are not known to it; but what it did not find before does not count after.
type loader struct {
	*sides.Scene
	dirs  []string // those of every program, once they are known
	known map[place]*elfdeps.File
}

// place is where a library is looked for.
type place struct {
	path string
	kind elfdeps.Kind
}

func newLoader(s *sides.Scene) *loader {
	return &loader{Scene: s, known: make(map[place]*elfdeps.File)}
}

// missing returns what a file does not find, in a fixed order.
func (l *loader) missing(f *elfdeps.File, at string) ([]need, error) {
	if !f.Dynamic {
		return nil, nil
	}
	var out []need
	if f.Loader != "" {
		has, err := l.Has(f.Loader)
		if err != nil {
			return nil, err
		}
		if !has {
			out = append(out, need{library: "the loader " + f.Loader})
		}
	}
	wanted := make(map[string]bool)
	for _, name := range f.Needed {
		wanted[name] = true
	}
	dirs, err := l.searched(f, at)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		found, err := l.find(f, name, dirs)
		if err != nil {
			return nil, err
		}
		if found == nil {
			out = append(out, need{library: name})
			continue
		}
		if len(found.Defines) == 0 {
			continue // without versions at all, the loader takes it
		}
		for _, version := range f.Requires[name] {
			if !slices.Contains(found.Defines, version) {
				out = append(out, need{name, version})
			}
		}
	}
	return out, nil
}

// find returns the first library of a name, of the kind of the file that needs it; nil when there is none.
func (l *loader) find(f *elfdeps.File, name string, dirs []string) (*elfdeps.File, error) {
	candidates := []string{name}
	if !strings.Contains(name, "/") {
		candidates = inDirs(name, dirs...)
	}
	for _, candidate := range candidates {
		found, err := l.library(place{sides.TrimRoot(candidate), f.Kind})
		if err != nil || found != nil {
			return found, err
		}
	}
	return nil, nil
}

// library returns a library; nil when there is none, or one of another kind.
func (l *loader) library(at place) (*elfdeps.File, error) {
	if known, ok := l.known[at]; ok {
		return known, nil
	}
	_, o, err := l.Follow(at.path)
	if err != nil {
		return nil, err
	}
	var f *elfdeps.File
	if o.Is(tree.Regular) {
		if f, err = readProgram(o); err != nil {
			return nil, err
		}
	}
	if f != nil && f.Kind != at.kind {
		f = nil
	}
	l.known[at] = f
	return f, nil
}

// searched returns the directories in which the libraries for a file are looked for.
func (l *loader) searched(f *elfdeps.File, at string) ([]string, error) {
	var out []string
	for _, dir := range slices.Concat(f.RPath, f.RunPath) {
		out = append(out, expandDir(dir, at, f.Kind)...)
	}
	if f.NoDefLib {
		return out, nil
	}
	if l.dirs == nil {
		configured, err := l.configured()
		if err != nil {
			return nil, err
		}
		l.dirs = append(configured, "lib64", "usr/lib64", "lib", "usr/lib", "lib32", "usr/lib32", "libx32",
			"usr/libx32")
	}
	out = append(out, l.dirs...)
	if triplet := multiarch(f.Kind); triplet != "" {
		out = append(out, "lib/"+triplet, "usr/lib/"+triplet)
	}
	return out, nil
}

// expandDir returns what a directory in a search path stands for; nothing when it is not understood.
func expandDir(dir, at string, kind elfdeps.Kind) []string {
	out := []string{dir}
	for token, values := range map[string][]string{
		"ORIGIN": {"/" + path.Dir(at)},
		"LIB":    {"lib64", "lib", "lib/" + multiarch(kind)},
	} {
		var next []string
		for _, one := range out {
			if !strings.Contains(one, "$"+token) && !strings.Contains(one, "${"+token+"}") {
				next = append(next, one)
				continue
			}
			for _, value := range values {
				next = append(next, strings.NewReplacer("${"+token+"}", value, "$"+token, value).Replace(one))
			}
		}
		out = next
	}
	return slices.DeleteFunc(out, func(one string) bool {
		return one == "" || strings.Contains(one, "$") || !path.IsAbs(one)
	})
}

// multiarch returns the name that Debian's directories have for a kind; "" when it is not known.
func multiarch(k elfdeps.Kind) string {
	little := k.Data == elf.ELFDATA2LSB
	switch wide := k.Class == elf.ELFCLASS64; {
	case k.Machine == elf.EM_X86_64 && wide:
		return "x86_64-linux-gnu"
	case k.Machine == elf.EM_X86_64:
		return "x86_64-linux-gnux32"
	case k.Machine == elf.EM_386:
		return "i386-linux-gnu"
	case k.Machine == elf.EM_AARCH64 && little:
		return "aarch64-linux-gnu"
	case k.Machine == elf.EM_ARM && little:
		return "arm-linux-gnueabihf"
	case k.Machine == elf.EM_PPC64 && little:
		return "powerpc64le-linux-gnu"
	case k.Machine == elf.EM_RISCV && wide:
		return "riscv64-linux-gnu"
	case k.Machine == elf.EM_S390 && wide:
		return "s390x-linux-gnu"
	case k.Machine == elf.EM_LOONGARCH && wide:
		return "loongarch64-linux-gnu"
	default:
		return ""
	}
}

// The bounds on the loader's configuration.
const (
	maxLoaderConfig = 64 << 10
	maxLoaderFiles  = 256
)

// configured returns the directories that the configuration of the loader names: of glibc's, and of musl's.
func (l *loader) configured() ([]string, error) {
	var out []string
	todo := []string{"etc/ld.so.conf"}
	for read := 0; len(todo) > 0 && read < maxLoaderFiles; read++ {
		name := todo[0]
		todo = todo[1:]
		content, err := l.Read(name, maxLoaderConfig)
		if err != nil {
			return nil, err
		}
		for line := range strings.SplitSeq(string(content), "\n") {
			line, _, _ = strings.Cut(line, "#")
			words := strings.Fields(line)
			if len(words) == 2 && words[0] == "include" {
				included, err := l.included(words[1], name)
				if err != nil {
					return nil, err
				}
				todo = append(todo, included...)
				continue
			}
			out = append(out, words...)
		}
	}
	musl, err := l.muslDirs()
	return append(out, musl...), err
}

// included returns the files that a pattern in the loader's configuration stands for.
func (l *loader) included(pattern, from string) ([]string, error) {
	if !path.IsAbs(pattern) {
		pattern = path.Join(path.Dir(from), pattern)
	}
	dir, base := path.Split(sides.TrimRoot(pattern))
	names, err := l.Names(path.Clean(dir))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		if policy.MatchName(base, name) {
			out = append(out, path.Join(dir, name))
		}
	}
	return out, nil
}

// muslDirs returns the directories that musl's loader looks in, if that is there.
func (l *loader) muslDirs() ([]string, error) {
	names, err := l.Names("lib")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		if !policy.MatchName("ld-musl-*.so.1", name) {
			continue
		}
		content, err := l.Read("etc/"+strings.TrimSuffix(name, ".so.1")+".path", maxLoaderConfig)
		if err != nil {
			return nil, err
		}
		if content == nil {
			content = []byte("/lib:/usr/local/lib:/usr/lib")
		}
		out = append(out, strings.FieldsFunc(string(content), func(r rune) bool { return r == ':' || r == '\n' })...)
	}
	return out, nil
}
