// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package elfdeps_test

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/elfdeps"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/elfdeps/elftest"
)

// samples are files of all kinds, as far as they matter here.
func samples() []elfdeps.File {
	kinds := []elfdeps.Kind{
		{Class: elf.ELFCLASS64, Data: elf.ELFDATA2LSB, Machine: elf.EM_X86_64},
		{Class: elf.ELFCLASS32, Data: elf.ELFDATA2LSB, Machine: elf.EM_386},
		{Class: elf.ELFCLASS64, Data: elf.ELFDATA2MSB, Machine: elf.EM_S390},
		{Class: elf.ELFCLASS32, Data: elf.ELFDATA2MSB, Machine: elf.EM_MIPS},
	}
	var out []elfdeps.File
	for _, kind := range kinds {
		out = append(out,
			elfdeps.File{Kind: kind, Type: elf.ET_DYN, Dynamic: true, Requires: map[string][]string{}},
			elfdeps.File{
				Kind: kind, Type: elf.ET_EXEC, Dynamic: true, Loader: "/lib64/ld.so", Needed: []string{"liba.so.1", "libb.so.2", "libc.so"},
				RunPath: []string{"$ORIGIN/../lib", "/opt/lib"}, NoDefLib: true,
				Requires: map[string][]string{"liba.so.1": {"A_1", "A_2"}, "libb.so.2": {"B_1"}},
			},
			elfdeps.File{
				Kind: kind, Type: elf.ET_DYN, Dynamic: true, Soname: "liba.so.1", RPath: []string{"/x"}, Requires: map[string][]string{},
				Defines: []string{"A_1", "A_2", "A_PRIVATE"},
			})
	}
	return out
}

func TestRead(t *testing.T) {
	for _, want := range samples() {
		content := elftest.Build(want)
		got, err := elfdeps.Read(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: got %+v, want %+v", want.Kind, *got, want)
		}
		for n := range len(content) { // cut off anywhere, it is an error or less than the whole
			if _, err := elfdeps.Read(bytes.NewReader(content[:n]), int64(n)); err != nil && !errors.Is(err, elfdeps.ErrFormat) {
				t.Errorf("of %d bytes: %v", n, err)
			}
		}
	}
}

// TestAgainstSections reads the programs of this machine, and compares with what debug/elf says, which goes by the sections.
func TestAgainstSections(t *testing.T) {
	checked := 0
	for _, pattern := range []string{"/usr/bin/*", "/usr/lib/*/lib*.so*", "/usr/lib64/lib*.so*", "/lib64/*"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names[:min(len(names), 150)] {
			if agrees(t, name) {
				checked++
			}
		}
	}
	t.Logf("%d files", checked)
	if checked == 0 {
		t.Skip("no ELF files with sections on this machine")
	}
}

func agrees(t *testing.T, name string) bool {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil || !strings.HasPrefix(string(content), elfdeps.Magic) {
		return false
	}
	sections, err := elf.NewFile(bytes.NewReader(content))
	if err != nil || sections.SectionByType(elf.SHT_DYNAMIC) == nil {
		return false
	}
	got, err := elfdeps.Read(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return false
	}
	needed, err := sections.ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Needed, needed) {
		t.Errorf("%s needs %v, want %v", name, got.Needed, needed)
	}
	if needs, err := sections.DynamicVersionNeeds(); err == nil {
		for _, n := range needs {
			var versions []string
			for _, dep := range n.Needs {
				if dep.Flags&elf.VER_FLG_WEAK == 0 {
					versions = append(versions, dep.Dep)
				}
			}
			if !slices.Equal(got.Requires[n.Name], versions) {
				t.Errorf("%s requires %v of %s, want %v", name, got.Requires[n.Name], n.Name, versions)
			}
		}
	}
	versions, err := sections.DynamicVersions()
	if err != nil {
		return true
	}
	var defines []string
	for _, v := range versions {
		if v.Flags&elf.VER_FLG_BASE == 0 {
			defines = append(defines, v.Name)
		}
	}
	if !slices.Equal(got.Defines, defines) {
		t.Errorf("%s defines %v, want %v", name, got.Defines, defines)
	}
	return true
}

// FuzzRead checks that nothing hostile does more harm than an error, and that what is read stays within bounds.
func FuzzRead(f *testing.F) {
	for _, one := range samples() {
		f.Add(elftest.Build(one))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		got, err := elfdeps.Read(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			if !errors.Is(err, elfdeps.ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		for _, name := range slices.Concat(got.Needed, got.Defines, []string{got.Loader, got.Soname}) {
			if len(name) > 4<<10 || strings.Contains(name, "\x00") {
				t.Fatalf("a name: %q", name)
			}
		}
	})
}
