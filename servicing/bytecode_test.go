// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// compile has Python compile modules below a root, in caches beside them.
func compile(t tb, root string, names ...string) {
	t.Helper()
	for _, name := range names {
		run(t, "python3", "-m", "py_compile", filepath.Join(root, name))
	}
}

// compiled returns the compiled modules below a root.
func compiled(t tb, root string) []string {
	t.Helper()
	var out []string
	for name := range snapshot(t, root) {
		if strings.HasSuffix(name, ".pyc") {
			module, _, _ := strings.Cut(filepath.Base(name), ".")
			out = append(out, module)
		}
	}
	slices.Sort(out)
	return out
}

// TestF3ByteCode has the user's Python compile modules, some of which the base changes or removes.
func TestF3ByteCode(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not installed")
	}
	const dir = "usr/lib/python3/dist-packages/"
	old := files{dir + "same.py": "x = 1\n", dir + "changed.py": "x = 1\n", dir + "gone/__init__.py": "x = 1\n", dir + "gone.py": "x = 1\n", dir + "edited.py": "x = 1\n", dir + "hashed.py": "x = 1\n", dir + "both.py": "x = 1\n"}
	base := files{dir + "same.py": "x = 1\n", dir + "changed.py": "x = 22\n", dir + "edited.py": "x = 1\n", dir + "hashed.py": "x = 22\n", dir + "both.py": "x = 22\n"}
	s := newScenario(t, old, base, nil)
	run(t, "touch", "-r", filepath.Join(s.old, dir, "same.py"), filepath.Join(s.base, dir, "same.py"))
	compile(t, s.base, dir+"both.py")
	s.nodes = nil
	s.work(s.old, func(root string) {
		u := sh{t, root}
		u.put(dir+"edited.py", "x = 333\n")
		u.put(dir+"own.py", "x = 4\n")
		compile(t, root, dir+"same.py", dir+"changed.py", dir+"gone.py", dir+"gone/__init__.py", dir+"edited.py", dir+"own.py", dir+"both.py")
		run(t, "python3", "-c", fmt.Sprintf("import py_compile; py_compile.compile(%q, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)", filepath.Join(root, dir, "hashed.py")))
		u.put(dir+"alone.pyc", "somebody's own")
	})
	report := s.serviced(func(root string) {
		if got, want := compiled(t, root), []string{"alone", "both", "edited", "own", "same"}; !slices.Equal(got, want) {
			t.Errorf("compiled are %q, want %q", got, want)
		}
		files{dir + "gone": ""}.check(t, root)
		for module, want := range map[string]string{"same": "1", "changed": "22", "edited": "333", "hashed": "22", "both": "22", "own": "4"} {
			out := run(t, "python3", "-c", fmt.Sprintf("import sys; sys.path.insert(0, %q); import %s; print(%s.x)", filepath.Join(root, dir), module, module))
			if strings.TrimSpace(out) != want {
				t.Errorf("%s.x is %s, want %s", module, out, want)
			}
		}
		out, err := exec.Command("python3", "-c", fmt.Sprintf("import sys; sys.path.insert(0, %q); import gone", filepath.Join(root, dir))).CombinedOutput()
		if err == nil {
			t.Errorf("what is gone can be imported: %s", out)
		}
	})
	if report.Counts[Drop] != 4 {
		t.Errorf("%d are dropped: %v", report.Counts[Drop], report.Counts)
	}
	unchangedBase(t, s)
}
