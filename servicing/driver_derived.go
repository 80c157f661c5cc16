// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
)

// derivedFiles are made from other files. Where both sides changed one, neither is right: stale is worse than absent where
// those that read it do without, and makes no sense to be put beside. A package manager that works in the container later
// makes them anew; until then they are gone, or kept and reported where what reads them needs them.
var derivedFiles = []struct {
	paths  pathTable
	drop   bool
	reason string
}{
	{pathTable{"var/cache/ldconfig/aux-cache"}, true, "only makes ldconfig faster"},
	{pathTable{"usr/share/mime/mime.cache"}, true, "the files that it was made from are read instead"},
	{pathTable{"usr/share/icons/*/icon-theme.cache"}, true, "the directories are read instead"},
	{pathTable{"usr/lib/*/gio/modules/giomodule.cache", "usr/lib/gio/modules/giomodule.cache"}, true, "the modules are asked instead"},
	{pathTable{"usr/lib/*/gconv/gconv-modules.cache"}, true, "the configuration is read instead"},
	{pathTable{"usr/lib/udev/hwdb.bin", "etc/udev/hwdb.bin", "lib/udev/hwdb.bin"}, true, "made anew when the system starts; programs do without"},
	{pathTable{"var/lib/systemd/catalog/database"}, true, "made anew when the system starts; programs do without"},
	{pathTable{"var/cache/man/index.db", "var/cache/man/*/index.db"}, true, "the manual pages are looked for instead"},
	{pathTable{"var/cache/fontconfig/*.cache-*"}, true, "the fonts are read instead"},
	{pathTable{"var/cache/apt/pkgcache.bin", "var/cache/apt/srcpkgcache.bin"}, true, "apt makes it anew"},

	{pathTable{"usr/share/glib-2.0/schemas/gschemas.compiled"}, false, "programs stop without it; run glib-compile-schemas"},
	{pathTable{"usr/lib/*/gdk-pixbuf-2.0/*/loaders.cache"}, false, "images cannot be read without it; run gdk-pixbuf-query-loaders"},
	{pathTable{"usr/lib/*/gtk-*/*/immodules.cache"}, false, "input methods are not found without it; run gtk-query-immodules"},
	{pathTable{"usr/share/applications/mimeinfo.cache"}, false, "programs for types of files are not found without it; run update-desktop-database"},
	{pathTable{"usr/lib/locale/locale-archive"}, false, "locales are gone without it; run locale-gen"},
	{pathTable{"usr/share/info/dir"}, false, "the manuals are not listed without it; run install-info"},
	{pathTable{"etc/ssl/certs/java/cacerts"}, false, "nothing is trusted without it; run update-ca-certificates"},
	{pathTable{"etc/ld.so.cache"}, false, "libraries are not found without it; run ldconfig"},
	{pathTable{"*.pyc"}, false, "to be compared with its source"},
}

func isDerived(p string) bool {
	for _, one := range derivedFiles {
		if one.paths.has(p) {
			return true
		}
	}
	return false
}

// settleDerived drops a file that is made from others, or keeps the user's.
func settleDerived(_ *planner, t three) (decision, bool, error) {
	for _, one := range derivedFiles {
		switch {
		case !one.paths.has(t.path):
			continue
		case one.drop:
			return decision{verdict: report.Drop, rule: "F3", reason: "made from other files, changed on both sides: " + one.reason, result: nothing()}, true, nil
		default:
			return decision{verdict: report.Keep, rule: "F3", reason: "made from other files, changed on both sides: " + one.reason, result: shows(t.u)}, true, nil
		}
	}
	return decision{}, false, nil
}
