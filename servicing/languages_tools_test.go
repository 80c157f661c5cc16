// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// wheelFile makes the file of a wheel with a program, as pip installs it.
func wheelFile(t *testing.T, dir, version string, modules ...string) string {
	t.Helper()
	name := filepath.Join(dir, "tool-"+version+"-py3-none-any.whl")
	info := "tool-" + version + ".dist-info/"
	f := files{
		"tool/__init__.py": oldText + "version = '" + version + "'\n", "tool/core.py": "def main():\n    print('" + version + "')\n",
		info + "METADATA":         "Metadata-Version: 2.1\nName: tool\nVersion: " + version + "\n",
		info + "WHEEL":            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		info + "entry_points.txt": "[console_scripts]\ntool = tool.core:main\n",
	}
	for _, module := range modules {
		f["tool/"+module+".py"] = "of = '" + version + "'\n"
	}
	var record strings.Builder
	for one := range sortedKeys(f) {
		record.WriteString(one + ",,\n")
	}
	f[info+"RECORD"] = record.String() + info + "RECORD,,\n"
	out, err := os.Create(name)
	must(t, err)
	w := zip.NewWriter(out)
	for one := range sortedKeys(f) {
		inside, err := w.Create(one)
		must(t, err)
		_, err = inside.Write([]byte(strings.ReplaceAll(f[one], "1\n2\n3\n4\n5\n6\n7\n8\n", "# 1\n# 2\n# 3\n# 4\n")))
		must(t, err)
	}
	must(t, w.Close())
	must(t, out.Close())
	return name
}

// needs skips a test without some programs.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, one := range programs {
		if _, err := exec.LookPath(one); err != nil {
			t.Skip("needs " + one)
		}
	}
}

// TestK2WithPip has pip upgrade a package on both sides, in a virtual environment, and asks pip and the program afterwards.
func TestK2WithPip(t *testing.T) {
	needs(t, "python3")
	wheels := tempDir(t)
	pip := func(root string, args ...string) string {
		python := filepath.Join(root, "srv/venv/bin/python3")
		return run(t, "python3", append([]string{"-m", "pip", "--python", python, "--disable-pip-version-check"}, args...)...)
	}
	install := func(root, wheel string) { pip(root, "install", "--no-index", "--no-deps", "-q", wheel) }
	for _, c := range []struct{ user, want string }{{"1.1", "1.2"}, {"1.10", "1.10"}} {
		t.Run(c.user, func(t *testing.T) {
			s := &scenario{t: t, old: tempDir(t), base: tempDir(t)}
			run(t, "python3", "-m", "venv", "--without-pip", filepath.Join(s.old, "srv/venv"))
			install(s.old, wheelFile(t, wheels, "1.0", "gone"))
			run(t, "cp", "-a", filepath.Join(s.old, "srv"), s.base)
			install(s.base, wheelFile(t, wheels, "1.2", "new"))
			s.work(s.old, func(root string) { install(root, wheelFile(t, wheels, c.user, "mine")) })
			s.serviced(func(root string) {
				if got := pip(root, "show", "tool"); !strings.Contains(got, "Version: "+c.want+"\n") {
					t.Errorf("pip shows %s", got)
				}
				if got := strings.TrimSpace(pip(root, "list", "--format=freeze")); strings.Count(got, "tool==") != 1 {
					t.Errorf("pip lists %s", got)
				}
				program := "from tool import core; core.main(); import tool; print(tool.version)"
				got := run(t, filepath.Join(root, "srv/venv/bin/python3"), "-B", "-c", program)
				if want := c.want + "\n" + c.want + "\n"; got != want {
					t.Errorf("it runs as %q, want %q", got, want)
				}
				pip(root, "uninstall", "-q", "-y", "tool")
				left, err := filepath.Glob(filepath.Join(root, "srv/venv/lib/python3*/site-packages/tool*"))
				must(t, err)
				if len(left) > 0 {
					t.Errorf("pip leaves %q", left)
				}
			})
		})
	}
}

// tarball makes the file of a Node package.
func tarball(t *testing.T, dir, version string, more files) string {
	t.Helper()
	name := filepath.Join(dir, "tool-"+version+".tgz")
	out, err := os.Create(name)
	must(t, err)
	z := gzip.NewWriter(out)
	w := tar.NewWriter(z)
	f := together(files{
		"package/package.json": fmt.Sprintf("{\"name\": \"tool\", \"version\": %q, \"bin\": {\"tool\": \"tool.js\"}}", version),
		"package/tool.js":      "#!/usr/bin/env node\nconsole.log('" + version + "')\n", "package/same.js": "same\n",
	}, more)
	for one := range sortedKeys(f) {
		must(t, w.WriteHeader(&tar.Header{Name: one, Mode: 0o644, Size: int64(len(f[one]))}))
		_, err := w.Write([]byte(f[one]))
		must(t, err)
	}
	must(t, w.Close())
	must(t, z.Close())
	must(t, out.Close())
	return name
}

// TestK3WithNpm has npm upgrade a package on both sides, and asks npm afterwards: globally, and in a tree with a lock.
func TestK3WithNpm(t *testing.T) {
	needs(t, "npm")
	balls := tempDir(t)
	npm := func(args ...string) string {
		return run(t, "npm", append(args, "--offline", "--no-audit", "--no-fund", "--cache", balls+"/cache")...)
	}
	for _, c := range []struct{ user, want string }{{"10.5.0", "10.8.0"}, {"11.0.0", "11.0.0"}} {
		t.Run(c.user, func(t *testing.T) {
			s := &scenario{t: t, old: tempDir(t), base: tempDir(t)}
			install := func(root, ball string) {
				npm("install", "-g", "--prefix", filepath.Join(root, "usr/local"), ball)
				must(t, os.MkdirAll(filepath.Join(root, "opt/app"), 0o755))
				copied := filepath.Join(root, "opt/app", filepath.Base(ball))
				run(t, "cp", ball, copied)
				npm("install", "--prefix", filepath.Join(root, "opt/app"), copied)
			}
			install(s.old, tarball(t, balls, "9.0.0", files{"package/nine.js": "9"}))
			install(s.base, tarball(t, balls, "10.8.0", files{"package/eight.js": "10.8"}))
			s.work(s.old, func(root string) { install(root, tarball(t, balls, c.user, files{"package/mine.js": "mine"})) })
			s.serviced(func(root string) {
				for _, args := range [][]string{{"-g", "--prefix", filepath.Join(root, "usr/local")}, {"--prefix", filepath.Join(root, "opt/app")}} {
					var listed struct {
						Dependencies map[string]struct{ Version string }
					}
					cmd := exec.Command("npm", append([]string{"ls", "--json", "--offline"}, args...)...)
					out, err := cmd.Output()
					if len(out) == 0 {
						t.Fatal(err)
					}
					must(t, json.Unmarshal(out, &listed))
					if got := listed.Dependencies["tool"].Version; got != c.want {
						t.Errorf("npm lists %s: %s", got, out)
					}
				}
				for _, dir := range []string{globals, local} {
					want := map[string]files{
						"10.8.0": {"tool/eight.js": "10.8", "tool/mine.js": "", "tool/nine.js": ""},
						"11.0.0": {"tool/eight.js": "", "tool/mine.js": "mine", "tool/nine.js": ""},
					}[c.want]
					below(dir, want).check(t, root)
				}
				if got := look(t, root, "usr/local/bin/tool", ""); got != "-> ../lib/node_modules/tool/tool.js" {
					t.Errorf("the link is %q", got)
				}
			})
		})
	}
}
