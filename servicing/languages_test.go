// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const (
	modules = "usr/local/lib/python3.11/site-packages"
	globals = "usr/local/lib/node_modules"
	local   = "opt/app/node_modules"
)

// together puts trees together.
func together(trees ...files) files {
	out := files{}
	for _, f := range trees {
		maps.Copy(out, f)
	}
	return out
}

// gone expects nothing at some paths.
func gone(names ...string) files {
	out := files{}
	for _, name := range names {
		out[name] = ""
	}
	return out
}

// below puts a tree below a directory.
func below(dir string, f files) files {
	out := files{}
	for name, what := range f {
		out[path.Join(dir, name)] = what
	}
	return out
}

// wheel is a package of Python as pip installs it, with a record that is true.
func wheel(spelled, version string, f files) files {
	return wheelIn(modules, spelled, version, f)
}

func wheelIn(dir, spelled, version string, f files) files {
	info := spelled + "-" + version + ".dist-info"
	out := together(f, files{
		info + "/METADATA": "Name: " + spelled + "\nVersion: " + version + "\n", info + "/INSTALLER": "pip\n",
	})
	var record strings.Builder
	for name := range sortedKeys(out) {
		sum := sha256.Sum256([]byte(out[name]))
		fmt.Fprintf(&record, "%s,sha256=%s,%d\n", name, base64.RawURLEncoding.EncodeToString(sum[:]), len(out[name]))
	}
	fmt.Fprintf(&record, "%s/RECORD,,\n", info)
	out[info+"/RECORD"] = record.String()
	return below(dir, out)
}

// tool is a package of Python at some version; some lines are in all of them, so that versions could be merged.
func tool(version string, more ...string) files {
	f := files{
		"tool/__init__.py": "version = '" + version + "'\n" + oldText, "tool/core.py": oldText + "core of " + version + "\n",
		"../../../bin/tool": "#!/bin/sh\necho " + version + "\n",
	}
	for _, name := range more {
		f[name] = version + "\n"
	}
	return wheel("tool", version, f)
}

// node is a package of Node in a directory.
func node(dir, name, version string, more files) files {
	f := files{
		"package.json": fmt.Sprintf("{\n  \"name\": %q,\n  \"version\": %q,\n  \"main\": \"a.js\"\n}\n", name, version),
		"a.js":         oldText + "// " + version + "\n", "same.js": "same\n",
	}
	return below(path.Join(dir, name), together(f, more))
}

// locked is a tree of Node packages with its lock; packages are given as name=version.
func locked(packages ...string) files {
	out, lock := files{}, []string{}
	for _, one := range packages {
		name, version, _ := strings.Cut(one, "=")
		maps.Copy(out, node(local, name, version, nil))
		lock = append(lock, fmt.Sprintf("    %q: {\"version\": %q}", "node_modules/"+name, version))
	}
	text := "{\n  \"packages\": {\n" + strings.Join(lock, ",\n") + "\n  }\n}\n"
	out[local+"/.package-lock.json"], out["opt/app/package-lock.json"] = text, text
	return out
}

// install has a user replace files by others, as a package manager does.
func (u sh) exchange(was, is files) {
	u.t.Helper()
	for name := range sortedKeys(was) {
		u.rm(name)
	}
	for name := range sortedKeys(is) {
		u.put(name, is[name])
	}
	for name := range sortedKeys(was) {
		for dir := path.Dir(name); dir != "." && os.Remove(filepath.Join(u.root, dir)) == nil; dir = path.Dir(dir) {
			continue
		}
	}
}

func exchange(was, is files) func(u sh) { return func(u sh) { u.exchange(was, is) } }

// infoGone expects the record of a version of tool to be gone.
func infoGone(version string) files { return gone(modules + "/tool-" + version + ".dist-info") }

// pythonCases are packages of Python.
var pythonCases = []kindCase{
	{
		name: "K2 a package upgraded on both sides, the base's higher", old: tool("1.0"), new: tool("1.2", "tool/more.py"), user: exchange(tool("1.0"), tool("1.1", "tool/mine.py")),
		want: together(tool("1.2", "tool/more.py"), infoGone("1.1"), infoGone("1.0"), gone(modules+"/tool/mine.py")),
		told: []string{"the base's 1.2 is higher than the user's 1.1"},
	},
	{
		name: "K2 a package upgraded on both sides, the user's higher", old: tool("1.0"), new: tool("1.2", "tool/more.py"), user: exchange(tool("1.0"), tool("1.10", "tool/mine.py")),
		want: together(tool("1.10", "tool/mine.py"), infoGone("1.2"), infoGone("1.0"), gone(modules+"/tool/more.py", modules+"/tool/core.py.molt-new")),
		told: []string{"the user's is higher: the user's 1.10 stays whole, the base has 1.2"},
	},
	{
		name: "K2 changed by the user only", old: tool("1.0"), new: together(tool("1.0"), files{"etc/x": "1"}), user: exchange(tool("1.0"), tool("1.1")),
		want: together(tool("1.1"), infoGone("1.0")),
	},
	{
		name: "K2 changed by the base only", old: tool("1.0"), new: tool("1.2"), user: func(u sh) { u.touch(modules + "/tool/core.py") },
		want: together(tool("1.2"), infoGone("1.0")),
	},
	{
		name: "K2 edited by hand", old: tool("1.0"), new: tool("1.2", "tool/more.py"), user: func(u sh) { u.put(modules+"/tool/core.py", userText) },
		want: together(tool("1.0"), files{modules + "/tool/core.py": userText}, infoGone("1.2"), gone(modules+"/tool/more.py", modules+"/tool/core.py.molt-new")),
		told: []string{"edited by the user", "the user's 1.0 stays whole, the base has 1.2"},
	},
	{
		name: "K2 upgraded, and edited by hand then", old: tool("1.0"), new: tool("1.2"),
		user: func(u sh) { u.exchange(tool("1.0"), tool("1.1")); u.put(modules+"/tool/core.py", userText) },
		want: together(tool("1.1"), files{modules + "/tool/core.py": userText}, infoGone("1.2")), told: []string{"edited by the user"},
	},
	{
		name: "K2 removed by the user", old: together(tool("1.0"), files{modules + "/README": "1"}), new: tool("1.2", "tool/more.py"), user: exchange(tool("1.0"), nil),
		want: together(gone(modules+"/tool", "usr/local/bin/tool"), infoGone("1.0"), infoGone("1.2")), told: []string{"removed by the user; the base has 1.2"},
	},
	{
		name: "K2 all removed by the user, with their directory", old: together(tool("1.0"), files{"usr/local/lib/x": "1"}), new: together(tool("1.2", "tool/more.py"), files{"usr/local/lib/x": "2"}),
		user: func(u sh) { u.rm("usr/local/lib/python3.11") }, want: together(gone("usr/local/lib/python3.11/site-packages/tool"), infoGone("1.2")),
	},
	{
		name: "K2 removed and made anew", old: together(tool("1.0"), wheel("other", "1", files{"other.py": "1"})), new: together(tool("1.2", "tool/more.py"), wheel("other", "2", files{"other.py": "2"})),
		user: func(u sh) { u.rm(modules); u.exchange(nil, wheel("other", "1.5", files{"other.py": "1.5"})) },
		want: together(wheel("other", "2", files{"other.py": "2"}), infoGone("1.2"), gone(modules+"/tool", modules+"/other-1.5.dist-info")),
	},
	{
		name: "K2 removed by the base", old: tool("1.0", "tool/more.py"), new: files{modules + "/x.py": "1"}, user: exchange(tool("1.0", "tool/more.py"), tool("1.1")),
		want: together(tool("1.1"), infoGone("1.0"), gone(modules+"/tool/more.py")),
	},
	{
		name: "K2 removed by the base, edited by hand", old: tool("1.0", "tool/more.py"), new: files{modules + "/x.py": "1"}, user: func(u sh) { u.put(modules+"/tool/core.py", userText) },
		want: together(tool("1.0", "tool/more.py"), files{modules + "/tool/core.py": userText}), told: []string{"removed from the base; the user's 1.0 stays whole"},
	},
	{
		name: "K2 another spelling", old: wheel("Foo_Bar", "1.0", files{"foo_bar.py": oldText}), new: wheel("foo_bar", "1.2", files{"foo_bar.py": baseText}),
		user: exchange(wheel("Foo_Bar", "1.0", files{"foo_bar.py": oldText}), wheel("Foo.Bar", "1.1", files{"foo_bar.py": userText})),
		want: together(wheel("foo_bar", "1.2", files{"foo_bar.py": baseText}), gone(modules+"/Foo.Bar-1.1.dist-info", modules+"/Foo_Bar-1.0.dist-info")),
	},
	{
		name: "K2 the same version on both sides", old: tool("1.0"), new: together(tool("1.2"), files{modules + "/tool-1.2.dist-info/INSTALLER": "uv\n"}), user: exchange(tool("1.0"), tool("1.2")),
		want: together(tool("1.2"), files{modules + "/tool-1.2.dist-info/INSTALLER": "uv\n"}, infoGone("1.0")), told: []string{"as high as the user's 1.2"},
	},
	{
		name: "K2 added on both sides", old: files{modules + "/x.py": "1"}, new: together(tool("1.2", "tool/more.py")), user: exchange(nil, tool("1.1", "tool/mine.py")),
		want: together(tool("1.2", "tool/more.py"), infoGone("1.1"), gone(modules+"/tool/mine.py")),
	},
	{
		name: "K2 a directory on one side", old: tool("1.0", "tool/x"), new: tool("1.2", "tool/x/y.py"),
		user: exchange(tool("1.0", "tool/x"), tool("1.1", "tool/x")), held: true, told: []string{"is a directory on one side only"},
	},
	{
		name: "K2 no versions", old: tool("1.0"), new: tool("abc"), user: exchange(tool("1.0"), tool("1.1")),
		want: together(tool("1.1"), infoGone("abc")), told: []string{"not versions that can be compared: the user's 1.1 stays whole, the base has abc"},
	},
	{
		name: "K2 others are not concerned", old: together(tool("1.0"), wheel("other", "1", files{"other.py": "1"})), new: together(tool("1.2"), wheel("other", "2", files{"other.py": "2"})),
		user: func(u sh) { u.exchange(tool("1.0"), tool("1.1")); u.put(modules+"/mine.py", "mine") },
		want: together(tool("1.2"), wheel("other", "2", files{"other.py": "2"}), files{modules + "/mine.py": "mine"}, infoGone("1.1")),
	},
	{
		name: "K2 what is of no package merges as before", old: together(tool("1.0"), files{modules + "/own.py": oldText}), new: together(tool("1.0"), files{modules + "/own.py": baseText}),
		user: func(u sh) { u.put(modules+"/own.py", userText) }, want: files{modules + "/own.py": bothText},
	},
	{
		name: "K2 an egg with its list of files", old: egg("1.0"), new: egg("1.2"), user: exchange(egg("1.0"), egg("1.1")),
		want: together(egg("1.2"), gone(modules+"/old_tool-1.1-py3.11.egg-info", modules+"/old_tool-1.0-py3.11.egg-info")),
	},
}

func egg(version string) files {
	info := "old_tool-" + version + "-py3.11.egg-info"
	return below(modules, files{
		"old_tool.py": oldText + version + "\n", info + "/PKG-INFO": "Version: " + version + "\n",
		info + "/installed-files.txt": "../old_tool.py\nPKG-INFO\n",
	})
}

// nodeCases are packages of Node.
var nodeCases = []kindCase{
	{
		name: "K3 a package upgraded on both sides, the base's higher", old: node(globals, "tool", "9.0.0", files{"nine.js": "9"}), new: node(globals, "tool", "10.8.0", files{"new.js": "10.8"}),
		user: exchange(node(globals, "tool", "9.0.0", files{"nine.js": "9"}), node(globals, "tool", "10.5.0", files{"mine/m.js": "10.5"})),
		want: together(node(globals, "tool", "10.8.0", files{"new.js": "10.8"}), gone(globals+"/tool/mine", globals+"/tool/nine.js")),
		told: []string{"the base's 10.8.0 is higher than the user's 10.5.0"},
	},
	{
		name: "K3 a package upgraded on both sides, the user's higher", old: node(globals, "tool", "9.0.0", nil), new: node(globals, "tool", "10.8.0", files{"new/n.js": "10.8"}),
		user: exchange(node(globals, "tool", "9.0.0", nil), node(globals, "tool", "11.0.0", files{"mine.js": "11"})),
		want: together(node(globals, "tool", "11.0.0", files{"mine.js": "11"}), gone(globals+"/tool/new", globals+"/tool/a.js.molt-new")),
	},
	{
		name: "K3 edited by hand", old: node(globals, "tool", "9.0.0", nil), new: node(globals, "tool", "10.8.0", files{"new.js": "10.8"}),
		user: func(u sh) { u.put(globals+"/tool/a.js", userText) },
		want: together(node(globals, "tool", "9.0.0", nil), files{globals + "/tool/a.js": userText}, gone(globals+"/tool/new.js")),
		told: []string{"edited by the user: the user's 9.0.0 stays whole, the base has 10.8.0"},
	},
	{
		name: "K3 a scoped package, with one installed in it", old: node(globals, "@s/tool", "1.0.0", files{"node_modules/in/package.json": "{\"version\": \"1.0.0\"}"}),
		new:  node(globals, "@s/tool", "1.2.0", files{"node_modules/in/package.json": "{\"version\": \"2.0.0\"}"}),
		user: exchange(node(globals, "@s/tool", "1.0.0", nil), node(globals, "@s/tool", "1.1.0", files{"node_modules/in/package.json": "{\"version\": \"3.0.0\"}"})),
		want: node(globals, "@s/tool", "1.2.0", files{"node_modules/in/package.json": "{\"version\": \"2.0.0\"}"}),
	},
	{
		name: "K3 a link to a program goes with its package",
		old:  together(node(globals, "tool", "9.0.0", bin("tool")), files{"usr/local/bin/tool": "-> ../lib/node_modules/tool/tool.js"}),
		new:  together(node(globals, "tool", "10.0.0", bin("other")), files{"usr/local/bin/other": "-> ../lib/node_modules/tool/other.js"}),
		user: func(u sh) {
			u.exchange(node(globals, "tool", "9.0.0", bin("tool")), node(globals, "tool", "11.0.0", bin("tool")))
		},
		want: together(node(globals, "tool", "11.0.0", bin("tool")), files{"usr/local/bin/tool": "-> ../lib/node_modules/tool/tool.js", "usr/local/bin/other": ""}),
	},
	{
		name: "K3 a tree with a lock, the base's at least as high", old: locked("a=1.0.0", "b=1.0.0"), new: locked("a=1.3.0", "b=1.1.0", "c=1.0.0"),
		user: exchange(locked("a=1.0.0", "b=1.0.0"), locked("a=1.2.0", "b=1.0.0")), want: locked("a=1.3.0", "b=1.1.0", "c=1.0.0"),
	},
	{
		name: "K3 a tree with a lock, one package higher on each side", old: locked("a=1.0.0", "b=1.0.0"), new: locked("a=1.3.0", "b=1.1.0", "c=1.0.0"),
		user: exchange(locked("a=1.0.0", "b=1.0.0"), locked("a=1.2.0", "b=1.2.0")), want: together(locked("a=1.2.0", "b=1.2.0"), gone(local+"/c")),
		told: []string{"neither is higher", "a 1.3.0 (user: 1.2.0)", "c 1.0.0 (user: none)"},
	},
	{
		name: "K3 a tree with a lock, a package added by the user", old: locked("a=1.0.0"), new: locked("a=1.3.0"),
		user: exchange(locked("a=1.0.0"), locked("a=1.0.0", "mine=1.0.0")), want: locked("a=1.0.0", "mine=1.0.0"), told: []string{"the user's stays whole; the base has a 1.3.0 (user: 1.0.0)"},
	},
	{
		name: "K3 a tree with a lock, edited by hand", old: locked("a=1.0.0", "b=1.0.0"), new: locked("a=1.3.0", "b=1.1.0"),
		user: func(u sh) { u.put(local+"/a/a.js", userText) }, want: together(locked("a=1.0.0", "b=1.0.0"), files{local + "/a/a.js": userText}),
		told: []string{"the tree of Node packages in", "edited by the user: the user's stays whole; the base has a 1.3.0 (user: 1.0.0)"},
	},
	{
		name: "K3 a link of the user's among the packages", old: locked("a=1.0.0"), new: locked("a=1.3.0"),
		user: func(u sh) { u.exchange(locked("a=1.0.0"), locked("a=1.2.0")); u.put(local+"/mine", "-> /srv/mine") },
		want: together(locked("a=1.3.0"), files{local + "/mine": "-> /srv/mine"}),
	},
	{
		name: "K3 all removed by the user", old: together(locked("a=1.0.0"), files{"opt/app/x": "1"}), new: together(locked("a=1.3.0", "b=1.0.0"), files{"opt/app/x": "2"}),
		user: func(u sh) { u.rm(local) }, want: gone(local),
	},
	{
		name: "K3 packages without a lock", old: together(node(local, "a", "1.0.0", nil), node(local, "b", "1.0.0", nil)), new: together(node(local, "a", "1.3.0", nil), node(local, "b", "1.1.0", nil)),
		user: func(u sh) {
			u.exchange(node(local, "a", "1.0.0", nil), node(local, "a", "1.2.0", nil))
			u.exchange(node(local, "b", "1.0.0", nil), node(local, "b", "1.2.0", nil))
		},
		want: together(node(local, "a", "1.3.0", nil), node(local, "b", "1.2.0", nil)),
	},
	{
		name: "K3 lowered by the user", old: node(globals, "tool", "9.0.0", nil), new: node(globals, "tool", "10.8.0", nil), user: exchange(nil, node(globals, "tool", "8.0.0", nil)),
		want: node(globals, "tool", "8.0.0", nil), told: []string{"not at a version above the old base's: the user's 8.0.0 stays whole, the base has 10.8.0"},
	},
}

// bin is a program of a Node package, and the package.json that names it.
func bin(name string) files {
	return files{name + ".js": "0755 js", "package.json": fmt.Sprintf("{\"name\": \"tool\", \"version\": %q, \"bin\": {%q: %q}}", map[string]string{"tool": "11.0.0", "other": "10.0.0"}[name], name, name+".js")}
}

const gemHome = "usr/local/lib/ruby/gems/3.1.0"

// gemFiles is a gem with an extension.
func gemFiles(home, name, version string) files {
	full := name + "-" + version
	return below(home, files{
		"specifications/" + full + ".gemspec": oldText + "s.version = " + version + "\n", "gems/" + full + "/lib/" + name + ".rb": oldText + version + "\n",
		"extensions/x86_64-linux/3.1.0/" + full + "/" + name + ".so": "\x00" + version,
	})
}

func gemGone(name, version string) files {
	full := gemHome + "/"
	return gone(full+"gems/"+name+"-"+version, full+"specifications/"+name+"-"+version+".gemspec", full+"extensions/x86_64-linux/3.1.0/"+name+"-"+version)
}

// php is what composer vendors.
func php(versions ...string) files {
	out, list := files{}, []string{}
	for _, one := range versions {
		name, version, _ := strings.Cut(one, "=")
		out["opt/app/vendor/"+name+"/src.php"] = oldText + version + "\n"
		list = append(list, fmt.Sprintf("    {\"name\": %q, \"version\": %q}", name, version))
	}
	out["opt/app/vendor/composer/installed.json"] = "{\n  \"packages\": [\n" + strings.Join(list, ",\n") + "\n  ]\n}\n"
	out["opt/app/vendor/autoload.php"] = "load\n"
	out["opt/app/composer.lock"] = strings.Join(list, "\n")
	return out
}

// env is an environment of conda's with one package.
func env(version string) files {
	return below("opt/conda", files{
		"conda-meta/history": "==> " + version + "\n", "conda-meta/lib-x-" + version + "-h1_0.json": "{\"files\": [\"lib/libx.so\", \"lib/libx-" + version + ".txt\"]}",
		"lib/libx.so": "\x00" + version, "lib/libx-" + version + ".txt": version,
	})
}

// crate is what cargo installed.
func crate(version string) files {
	return below("root/.cargo", files{
		".crates2.json": "{\"installs\": {\"rg " + version + " (registry+x)\": {\"bins\": [\"rg\"]}}}", ".crates.toml": "[v1]\n\"rg " + version + " (registry+x)\" = [\"rg\"]\n",
		"bin/rg": "0755 \x00" + version,
	})
}

// otherCases are packages of other languages.
var otherCases = []kindCase{
	{
		name: "J2 a gem replaced on both sides", old: gemFiles(gemHome, "rack", "3.0"), new: gemFiles(gemHome, "rack", "3.2"), user: exchange(gemFiles(gemHome, "rack", "3.0"), gemFiles(gemHome, "rack", "3.1")),
		want: together(gemFiles(gemHome, "rack", "3.2"), gemGone("rack", "3.1"), gemGone("rack", "3.0")),
	},
	{
		name: "J2 gems side by side", old: gemFiles(gemHome, "rack", "3.0"), new: gemFiles(gemHome, "rack", "3.2"), user: exchange(nil, gemFiles(gemHome, "rack", "3.1")),
		want: together(gemFiles(gemHome, "rack", "3.2"), gemFiles(gemHome, "rack", "3.1"), gemGone("rack", "3.0")),
	},
	{
		name: "J2 a gem edited by hand", old: gemFiles(gemHome, "rack", "3.0"), new: gemFiles(gemHome, "rack", "3.2"), user: func(u sh) { u.put(gemHome+"/gems/rack-3.0/lib/rack.rb", userText) },
		want: together(gemFiles(gemHome, "rack", "3.0"), files{gemHome + "/gems/rack-3.0/lib/rack.rb": userText}, gemGone("rack", "3.2")), told: []string{"edited by the user: the user's 3.0 stays whole, the base has 3.2"},
	},
	{
		name: "J2 a bundle", old: bundled("3.0"), new: bundled("3.2"), user: exchange(bundled("3.0"), bundled("3.1")), want: together(bundled("3.2"), gone("opt/app/vendor/bundle/ruby/3.1.0/gems/rack-3.1")),
	},
	{
		name: "J2 composer, the base's at least as high", old: php("a/a=1.0.0", "b/b=1.0.0"), new: php("a/a=1.3.0", "b/b=1.1.0"), user: exchange(php("a/a=1.0.0", "b/b=1.0.0"), php("a/a=1.2.0", "b/b=1.0.0")),
		want: php("a/a=1.3.0", "b/b=1.1.0"),
	},
	{
		name: "J2 composer, a package of the user's", old: php("a/a=1.0.0"), new: php("a/a=1.3.0"), user: exchange(php("a/a=1.0.0"), php("a/a=1.2.0", "b/b=1.0.0")), want: php("a/a=1.2.0", "b/b=1.0.0"),
		told: []string{"the tree of PHP packages in", "neither is higher"},
	},
	{
		name: "J2 conda", old: env("1.0"), new: env("1.2"), user: exchange(env("1.0"), env("1.1")),
		want: together(env("1.2"), gone("opt/conda/lib/libx-1.1.txt", "opt/conda/conda-meta/lib-x-1.1-h1_0.json")),
	},
	{
		name: "J2 conda, with a package that pip installed", old: env("1.0"), new: env("1.2"),
		user: func(u sh) {
			u.exchange(env("1.0"), together(env("1.1"), wheelIn("opt/conda/lib/python3.11/site-packages", "tool", "1", files{"tool.py": "1"})))
		},
		want: together(env("1.1"), files{"opt/conda/lib/python3.11/site-packages/tool.py": "1"}, gone("opt/conda/lib/libx-1.2.txt")), told: []string{"lib-x 1.2 (user: 1.1)"},
	},
	{
		name: "J2 cargo", old: crate("13.0.0"), new: crate("14.1.0"), user: exchange(crate("13.0.0"), crate("14.0.0")), want: crate("14.1.0"),
	},
	{
		name: "J2 cargo, the user's higher", old: crate("13.0.0"), new: crate("14.1.0"), user: exchange(crate("13.0.0"), crate("15.0.0")), want: crate("15.0.0"),
	},
	{
		name: "J2 a package of R", old: rFiles("1.0-1"), new: rFiles("1.0-9"), user: exchange(rFiles("1.0-1"), rFiles("1.0-10")), want: rFiles("1.0-10"),
	},
	{
		name: "J2 packages in a work tree are of the work tree", old: together(node("srv/app/node_modules", "a", "1.0.0", nil), files{"srv/app/.git/HEAD": "1"}),
		new:  together(node("srv/app/node_modules", "a", "1.3.0", nil), files{"srv/app/.git/HEAD": "2"}),
		user: exchange(node("srv/app/node_modules", "a", "1.0.0", nil), node("srv/app/node_modules", "a", "1.2.0", nil)),
		want: together(node("srv/app/node_modules", "a", "1.2.0", nil), files{"srv/app/.git/HEAD": "1"}),
	},
}

func bundled(version string) files {
	return together(gemFiles("opt/app/vendor/bundle/ruby/3.1.0", "rack", version), files{"opt/app/Gemfile.lock": "rack (" + version + ")\n"})
}

func rFiles(version string) files {
	return below("usr/local/lib/R/site-library/gg", files{"DESCRIPTION": "Package: gg\nVersion: " + version + "\n", "R/gg.rdb": "\x00" + version, "NAMESPACE": oldText + version + "\n"})
}

func TestLanguages(t *testing.T) {
	for _, table := range [][]kindCase{pythonCases, nodeCases, otherCases} {
		for _, c := range table {
			t.Run(c.name, c.run)
		}
	}
}

// TestLanguagesOfDpkg: a package of Python that dpkg has is dpkg's.
func TestLanguagesOfDpkg(t *testing.T) {
	of := func(version string) deb {
		return deb{name: "python3-tool", version: version, files: wheelIn("usr/lib/python3/dist-packages", "tool", version, files{"tool.py": "version " + version})}
	}
	s := &scenario{t: t, old: debianRoot(t, of("1.0")), base: debianRoot(t, of("1.2"))}
	s.work(s.old, func(root string) { sh{t, root}.put("usr/lib/python3/dist-packages/tool.py", "mine") })
	report := s.serviced(func(root string) {
		files{"usr/lib/python3/dist-packages/tool.py": "mine", "usr/lib/python3/dist-packages/tool-1.0.dist-info": "", "usr/lib/python3/dist-packages/tool-1.2.dist-info/INSTALLER": "pip\n"}.check(t, root)
	})
	if strings.Contains(encoded(t, report), `"languages"`) {
		t.Error("decided on what dpkg has")
	}
}

// TestLanguagesPinned: a package with a pinned path in it stays the user's.
func TestLanguagesPinned(t *testing.T) {
	s := newScenario(t, tool("1.0"), tool("1.2", "tool/more.py"), func(root string) {
		sh{t, root}.exchange(tool("1.0"), tool("1.1", "tool/mine.py"))
	})
	s.options = Options{Pins: []Pin{{Path: modules + "/tool/core.py"}}}
	report := s.serviced(func(root string) {
		together(tool("1.1", "tool/mine.py"), infoGone("1.2"), gone(modules+"/tool/more.py")).check(t, root)
	})
	if !strings.Contains(encoded(t, report), "a path in it is pinned or excluded: the user's 1.1 stays whole") {
		t.Error("the report does not say why")
	}
}

// TestLanguagesOverDpkg: a package that dpkg has and that the user brought to another version with pip is a unit, too.
func TestLanguagesOverDpkg(t *testing.T) {
	const dir = "usr/lib/python3/dist-packages"
	in := func(version string) files {
		name := "tool/v" + strings.ReplaceAll(version, ".", "") + ".py"
		return wheelIn(dir, "tool", version, files{"tool/core.py": oldText + version + "\n", name: version})
	}
	of := func(version string) deb { return deb{name: "python3-tool", version: version, files: in(version)} }
	for _, c := range []struct{ user, want, not string }{{"1.1", "1.2", "1.1"}, {"1.10", "1.10", "1.2"}, {"", "", "1.2"}} {
		t.Run(c.user, func(t *testing.T) {
			s := &scenario{t: t, old: debianRoot(t, of("1.0")), base: debianRoot(t, of("1.2"))}
			s.work(s.old, func(root string) {
				was, is := in("1.0"), files{}
				if c.user != "" {
					is = in(c.user)
				}
				sh{t, root}.exchange(was, is)
			})
			report := s.serviced(func(root string) {
				if c.want != "" {
					in(c.want).check(t, root)
				}
				for _, version := range []string{"1.0", c.not} {
					for name := range in(version) {
						if c.want == "" || !strings.HasSuffix(name, "core.py") {
							gone(name, path.Dir(name)).checkOnly(t, root, version)
						}
					}
				}
			})
			if !strings.Contains(encoded(t, report), `"languages"`) {
				t.Error("the report does not name the package")
			}
		})
	}
}

// checkOnly is check for what has a version in its name.
func (f files) checkOnly(t tb, root, version string) {
	t.Helper()
	for name, what := range f {
		if strings.Contains(name, version) || strings.Contains(name, "/v"+strings.ReplaceAll(version, ".", "")+".py") {
			files{name: what}.check(t, root)
		}
	}
}

// TestLanguagesByteCode: what Python compiled is no change of a package, and goes with it.
func TestLanguagesByteCode(t *testing.T) {
	cache := func(name string) string { return modules + "/tool/__pycache__/" + name + ".cpython-311.pyc" }
	kindCase{
		old: tool("1.0"), new: tool("1.2"), user: func(u sh) { u.put(cache("core"), "\x00core") },
		want: together(tool("1.2"), infoGone("1.0"), gone(cache("core"))),
	}.run(t)
	kindCase{
		old: together(tool("1.0"), files{cache("core"): "\x00old", cache("__init__"): "\x00old"}), new: together(tool("1.2"), files{cache("core"): "\x00new", cache("__init__"): "\x00new"}),
		user: func(u sh) { u.put(modules+"/tool/core.py", userText) },
		want: together(tool("1.0"), files{modules + "/tool/core.py": userText, cache("__init__"): "\x00old", cache("core"): "\x00old"}, infoGone("1.2")),
	}.run(t)
}

// drawnPackages draws a version, or none, for each of a few packages, and what each consists of at a version.
func drawnPackages(t *rapid.T, label string) (map[string]string, files) {
	versions, out := map[string]string{}, files{modules + "/README": "x", globals + "/README": "x"}
	for _, name := range []string{"one", "two"} {
		version := rapid.SampledFrom([]string{"", "1.0.0", "1.1.0", "1.2.0", "1.10.0"}).Draw(t, label+" "+name)
		versions[name] = version
		if version != "" {
			maps.Copy(out, drawnPackage(name, version))
		}
	}
	return versions, out
}

// drawnPackage is a package of Python and one of Node of one name and version; some files are of some versions only.
func drawnPackage(name, version string) files {
	f := files{name + "/__init__.py": oldText + name + version + "\n", name + "/same.py": "same\n", name + "/v" + version[2:3] + "/m.py": version + "\n"}
	return together(wheel(name, version, f), node(globals, name, version, files{"v" + version[2:3] + "/m.js": version}))
}

// TestLanguagesAreWhole checks that after an update each package is all of one side's, with its record and no other one,
// and that a second update to the same base changes nothing.
func TestLanguagesAreWhole(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		_, old := drawnPackages(rt, "old")
		base, baseFiles := drawnPackages(rt, "base")
		user, userFiles := drawnPackages(rt, "user")
		if rapid.Bool().Draw(rt, "the user did nothing") {
			userFiles = old
		}
		edited := rapid.SampledFrom([]string{"", "one", "two"}).Draw(rt, "edited")
		s := newScenario(rt, old, baseFiles, func(root string) {
			u := sh{rt, root}
			if !equal(old, userFiles) {
				u.exchange(old, userFiles)
			}
			if name := modules + "/" + edited + "/__init__.py"; userFiles[name] != "" {
				u.put(name, "by hand\n")
			}
		})
		p := s.plan(Options{})
		if len(p.Held()) > 0 {
			rt.Fatalf("held: %v", p.Held())
		}
		u, n := s.shown(append(append([]string{}, s.nodes...), s.old)...), s.shown(s.base)
		delta := s.delta(p)
		got := s.shown(append(append(append([]string{}, delta...), s.nodes...), s.base)...)
		for _, name := range []string{"one", "two"} {
			for _, of := range []func(string) bool{ofWheel(name), ofNode(name)} {
				if !sameOnly(got, u, of) && !sameOnly(got, n, of) {
					rt.Fatalf("%s is mixed (base %q, user %q)\nuser %v\nbase %v\ngot  %v\n%s", name, base[name], user[name],
						only(u, of), only(n, of), only(got, of), encoded(rt, p.Report()))
				}
			}
		}
		again := &scenario{t: rt, old: s.base, base: s.base, nodes: append(append([]string{}, delta...), s.nodes...)}
		if p := again.plan(Options{}); !p.Empty() {
			rt.Fatalf("side effects the second time: %s", encoded(rt, p.Report()))
		}
	})
}

func ofWheel(name string) func(string) bool {
	return func(p string) bool {
		return strings.HasPrefix(p, modules+"/"+name+"/") || strings.HasPrefix(p, modules+"/"+name+"-")
	}
}

func ofNode(name string) func(string) bool {
	return func(p string) bool { return strings.HasPrefix(p, globals+"/"+name+"/") }
}

// only returns the files of a tree that something is about; directories count if they are records.
func only(f files, of func(string) bool) files {
	out := files{}
	for name, what := range f {
		if of(name) && (what != "dir" || strings.HasSuffix(name, ".dist-info")) {
			out[name] = what
		}
	}
	return out
}

func sameOnly(a, b files, of func(string) bool) bool { return equal(only(a, of), only(b, of)) }
