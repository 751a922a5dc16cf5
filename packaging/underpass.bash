# SPDX-License-Identifier: BSD-2-Clause
# Completion of underpass(1) for bash.
_underpass() {
	local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} words
	case $previous in
	-d | --dir)
		mapfile -t COMPREPLY < <(compgen -d -- "$word")
		return
		;;
	port) words='list add remove' ;;
	remove | qemu-args | stats)
		words=$(underpass port list 2>/dev/null | awk 'NR > 1 { print $1 }')
		;;
	*) words='port qemu-args status stats' ;;
	esac
	if [[ $word == -* ]]; then
		words='--dir= --json --wait --help'
		case " ${COMP_WORDS[*]} " in
		*' add '*) words+=' --tenant= --guid= --doorbells=shared --doorbells=trap' ;;
		*' remove '*) words+=' --force' ;;
		*' qemu-args '*) words+=' --memory= --device-only' ;;
		*' stats '*) words+=' --qps --watch' ;;
		esac
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -F _underpass underpass
