# What the library calls the modules that a person named; an empty list means all of them.
function Get-CsbModuleList {
    param([string] $BackupModule)
    switch -Wildcard ($BackupModule) {
        '*PresenceFocus' { return @('UserServices.PresenceFocus') }
        '*DataConf' { return @('ConfServices.DataConf') }
        '*CMSMaster' { return @('CentralMgmt.CMSMaster') }
    }
    @()
}

function Get-CsbCategory {
    param([string] $Category)
    switch ($Category) {
        'UserData' { return 'UserData' }
        'CMS' { return 'CMS' }
    }
}
