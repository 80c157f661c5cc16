// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"strings"
	"testing"
)

// states is a file of apt's marks: packages that were installed for something else.
func states(automatic ...string) string {
	var out strings.Builder
	for _, name := range automatic {
		out.WriteString("Package: " + name + "\nArchitecture: amd64\nAuto-Installed: 1\n\n")
	}
	return out.String()
}

func up(version string) deb {
	return deb{name: "up", version: version, files: files{"usr/bin/up": "0755 up " + version}}
}

// setStates puts apt's marks into a root.
func setStates(t tb, root, content string) { sh{t, root}.put(aptStates, content) }

// marksIn returns the mark that apt has for a package: 1 for automatic.
func marksIn(t tb, root, name string) string {
	t.Helper()
	for stanza := range strings.SplitSeq(look(t, root, aptStates, ""), "\n\n") {
		if strings.HasPrefix(stanza, "Package: "+name+"\n") {
			_, mark, _ := strings.Cut(stanza, "Auto-Installed: ")
			return strings.TrimSpace(mark)
		}
	}
	return ""
}

// TestK15 has a user install a package by hand that the next base brings for something else, and hold one that is not
// installed.
func TestK15(t *testing.T) {
	hold := func(root, name string) {
		run(t, "sh", "-c", "echo "+name+" hold | dpkg --root="+root+" --set-selections")
	}
	for _, touched := range []bool{true, false} {
		s := &scenario{t: t, old: debianRoot(t, lib("1.0")), base: debianRoot(t, lib("1.1"), up("1.0"))}
		setStates(t, s.old, states("lib"))
		setStates(t, s.base, states("lib", "up"))
		s.work(s.old, func(root string) {
			u := sh{t, root}
			u.install(up("1.0"))
			if touched {
				u.install(app("1.0", "lib"))
				setStates(t, root, states("lib", "app"))
			}
			files{"var/lib/dpkg/available": "Package: jq\nVersion: 1\nArchitecture: amd64\nPriority: optional\nSection: utils\n"}.build(t, root)
			hold(root, "jq")
		})
		s.serviced(func(root string) {
			checkDebian(t, root, map[string]string{"lib": "1.1", "up": "1.0"}, "")
			if mark := marksIn(t, root, "up"); mark == "1" {
				t.Error("up is marked as automatic")
			}
			if marksIn(t, root, "lib") != "1" || touched && marksIn(t, root, "app") != "1" {
				t.Errorf("marks are lost: %s", look(t, root, aptStates, ""))
			}
			if got := run(t, "dpkg", "--root="+root, "--get-selections", "jq"); strings.Join(strings.Fields(got), " ") != "jq hold" {
				t.Errorf("jq is %q", got)
			}
		})
	}
}

// TestMarks has marks of the base's and the user's about packages that are new on both sides, and holds that come and go.
func TestMarks(t *testing.T) {
	t.Run("what the base has by hand is not automatic", func(t *testing.T) {
		s := &scenario{t: t, old: debianRoot(t, lib("1.0")), base: debianRoot(t, lib("1.0"), up("1.1"))}
		setStates(t, s.old, states("lib"))
		setStates(t, s.base, states("lib"))
		s.work(s.old, func(root string) { sh{t, root}.install(up("1.0")); setStates(t, root, states("lib", "up")) })
		s.serviced(func(root string) {
			if marksIn(t, root, "up") == "1" {
				t.Error("up is marked as automatic")
			}
		})
	})
	t.Run("automatic on both sides", func(t *testing.T) {
		s := &scenario{t: t, old: debianRoot(t, lib("1.0")), base: debianRoot(t, lib("1.0"), up("1.1"))}
		setStates(t, s.old, states("lib"))
		setStates(t, s.base, states("lib", "up"))
		s.work(s.old, func(root string) { sh{t, root}.install(up("1.0")); setStates(t, root, states("up", "lib")) })
		s.serviced(func(root string) {
			if marksIn(t, root, "up") != "1" {
				t.Error("up is no longer marked as automatic")
			}
		})
	})
	t.Run("a hold of what the base brings", func(t *testing.T) {
		s := &scenario{t: t, old: debianRoot(t, lib("1.0")), base: debianRoot(t, lib("1.1"), up("1.1"))}
		s.work(s.old, func(root string) {
			files{"var/lib/dpkg/available": "Package: up\nVersion: 1\nArchitecture: all\n"}.build(t, root)
			run(t, "sh", "-c", "echo up hold | dpkg --root="+root+" --set-selections")
		})
		s.serviced(func(root string) {
			checkDebian(t, root, map[string]string{"lib": "1.1", "up": "1.1"}, "")
			if got := run(t, "dpkg", "--root="+root, "--get-selections", "up"); strings.Join(strings.Fields(got), " ") != "up hold" {
				t.Errorf("up is %q", got)
			}
		})
	})
}
