// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"errors"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/config"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/diff3"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// configFormats says how configuration files with keys are written.
var configFormats = []struct {
	paths  sides.PathTable
	format config.Format
}{
	{sides.PathTable{"*.json"}, config.JSON},
	{sides.PathTable{"*.yaml", "*.yml"}, config.YAML},
	{sides.PathTable{"*.toml"}, config.TOML},
	{sides.PathTable{
		"etc/ssh/sshd_config", "etc/ssh/sshd_config.d/*.conf", "etc/ssh/ssh_config", "etc/ssh/ssh_config.d/*.conf", "etc/login.defs",
		"etc/nsswitch.conf", "etc/host.conf", "etc/redis/*.conf", "etc/chrony/chrony.conf", "etc/vsftpd.conf",
	}, config.Words},
	{sides.PathTable{
		"*.ini", "*.desktop", "*.service", "*.socket", "*.timer", "*.mount", "*.automount", "*.path", "*.target", "*.slice", "*.swap",
		"*.network", "*.netdev", "*.link", "*.repo", "*.cnf", "etc/systemd/*.conf", "etc/systemd/*/*.conf", "etc/systemd/system/*/*.conf",
		"etc/NetworkManager/*.conf", "etc/NetworkManager/conf.d/*.conf", "etc/gitconfig", "etc/pip.conf", "etc/dnf/*.conf", "etc/yum.conf",
		"etc/php/*/*/php.ini", "etc/samba/smb.conf", "etc/fail2ban/*.conf", "etc/fail2ban/*.local", "etc/nfs.conf", "etc/idmapd.conf",
		"etc/supervisor/*.conf", "etc/supervisor/conf.d/*.conf", "etc/odbc.ini", "etc/odbcinst.ini",
	}, config.INI},
	{sides.PathTable{
		"etc/default/*", "etc/conf.d/*", "etc/sysconfig/*", "etc/environment", "etc/environment.d/*.conf", "etc/locale.conf", "etc/vconsole.conf",
		"etc/sysctl.conf", "etc/sysctl.d/*.conf", "etc/adduser.conf", "etc/deluser.conf", "etc/rc.conf", "etc/security/pwquality.conf",
		"etc/security/faillock.conf", "etc/postgresql/*/*/postgresql.conf", "etc/os-release", "etc/lsb-release",
	}, config.Assignments},
}

// configDriver merges configuration files by key.
type configDriver struct{ plan plan }

func newConfig(p plan) driver { return &configDriver{p} }

// Name implements the driver.
func (dr *configDriver) Name() string { return "config" }

// configFormat returns how a file is written.
func configFormat(p string) (config.Format, bool) {
	for _, one := range configFormats {
		if one.paths.Has(p) {
			return one.format, true
		}
	}
	return config.Format{}, false
}

// Takes takes configuration files with keys.
func (dr *configDriver) Takes(p string) bool {
	_, ok := configFormat(p)
	return ok && !sides.DataPaths.Has(p)
}

// Resolve merges by key. The merge by lines is preferred where it says the same: it merges comments as well. Where both
// sides changed one key, it stands only if what comes out is sound: the key may be a list, in which lines are apart.
func (dr *configDriver) Resolve(t sides.Three) (decision, bool, error) {
	if !t.O.Is(tree.Regular) {
		return decision{}, false, nil
	}
	contents, err := sides.ReadThree(t, diff3.MaxSize)
	if err != nil || contents == nil {
		return decision{}, false, err
	}
	old, base, user := contents[sides.Old], contents[sides.New], contents[sides.User]
	format, _ := configFormat(t.Path)
	content, byKey := format.Merge(old, base, user)
	lines, byLines := diff3.Merge(old, base, user)
	switch {
	case byKey == nil && (byLines != nil || format.Agrees(lines, old, base, user) != nil):
		return decision{verdict: report.Merge, rule: "A4", reason: "merged by key", result: sides.Makes(t, content)}, true, nil //nolint:nilerr // that the lines conflict is why the keys decide
	case errors.Is(byKey, config.ErrConflict) && byLines == nil && !format.Sound(lines, base, user):
		d, err := dr.plan.KeepUsers(t)
		d.reason += "; the lines are apart, but say the same thing twice"
		return d, true, err
	default:
		return decision{}, false, nil
	}
}
